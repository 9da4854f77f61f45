"""CIFAR-10 and Fashion-MNIST from each of their layouts, and one line for files that are truncated, swapped or of other data."""

from __future__ import annotations

import gzip
import shutil
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scenarios import split_cifar10, split_fashion_mnist
from scenarios.base import DataError, SourceOptions, Task, fingerprint_of_tasks
from scenarios.parts.splits import SplitScenario
from scenarios.split_cifar10 import SplitCifar10
from scenarios.split_fashion_mnist import SplitFashionMnist
from tests.scenarios.pictures import encoded, pictures, write_parquet
from tests.scenarios.tiny_cifar100 import dump
from tests.scenarios.tiny_small_images import (
    FEW,
    TinySplitCifar10,
    TinySplitFashionMnist,
    drawn,
    idx,
    shuffled,
    write_batches,
    write_hub,
    write_idx,
)

CIFAR_PARTS, FASHION_PARTS = drawn(TinySplitCifar10.images), drawn(TinySplitFashionMnist.images)
HUB_NAMES = ["T - shirt / top", *SplitFashionMnist.classes[1:]]


def load(kind: type[SplitScenario], root: Path | None, download: bool = False) -> list[Task]:
    return kind(kind.Settings(), SourceOptions(root, download)).load()


def message_of(kind: type[SplitScenario], root: Path | None, download: bool = False) -> str:
    with pytest.raises(DataError) as error:
        load(kind, root, download)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return write_idx(FASHION_PARTS, tmp_path / "FashionMNIST" / "raw")


@pytest.fixture
def batches(tmp_path: Path) -> Path:
    return write_batches(CIFAR_PARTS, tmp_path / "cifar-10-batches-py")


def test_all_layouts_of_fashion_mnist_are_one_data_set(tmp_path: Path) -> None:
    parts = [shuffled(FASHION_PARTS, seed) for seed in range(5)]
    roots = [
        write_idx(parts[0], tmp_path / "a" / "FashionMNIST" / "raw").parents[1],
        write_idx(parts[1], tmp_path / "b", zipped=True),
        write_idx(parts[2], tmp_path / "c" / "fashion-mnist" / "data" / "fashion", zipped=True).parents[2],
        write_hub(parts[3], tmp_path / "d" / "fashion_mnist" / "fashion_mnist", names=HUB_NAMES).parents[1],
        write_hub(parts[4], tmp_path / "e" / "fashion-mnist", split_folders=True).parent,
    ]
    assert len({fingerprint_of_tasks(load(TinySplitFashionMnist, root)) for root in roots}) == 1


def test_all_layouts_of_cifar10_are_one_data_set(tmp_path: Path) -> None:
    parts = [shuffled(CIFAR_PARTS, seed) for seed in range(4)]
    roots = [
        write_batches(parts[0], tmp_path / "a" / "cifar-10-batches-py").parent,
        write_batches(parts[1], tmp_path / "b", python2=False),
        write_hub(parts[2], tmp_path / "c" / "cifar10" / "plain_text", image="img").parents[1],
        write_hub(parts[3], tmp_path / "d" / "plain_text", image="img", names=TinySplitCifar10.classes).parent,
    ]
    assert len({fingerprint_of_tasks(load(TinySplitCifar10, root)) for root in roots}) == 1


def test_files_of_debians_package_are_found_where_no_data_root_is_given(
    tmp_path: Path, raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = write_idx(FASHION_PARTS, tmp_path / "usr" / "share" / "datasets", zipped=True)
    copies = replace(split_fashion_mnist.COPIES, installed=(installed,))
    monkeypatch.setattr(split_fashion_mnist, "COPIES", copies)
    assert len(load(TinySplitFashionMnist, None)) == 5
    message = message_of(TinySplitFashionMnist, tmp_path / "empty")
    assert f"{tmp_path / 'empty'}: does not exist" in message
    assert str(installed) not in message, "a data root means no other place"


def test_missing_data_says_where_it_looked_and_three_ways_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    copies = replace(split_fashion_mnist.COPIES, installed=(Path("nowhere"),))
    monkeypatch.setattr(split_fashion_mnist, "COPIES", copies)
    message = message_of(TinySplitFashionMnist, None)
    for part in (
        "Fashion-MNIST not found; looked in data: does not exist; nowhere: does not exist",
        "--data-root",
        "--download",
        "apt-get install dataset-fashion-mnist",
    ):
        assert part in message
    assert "CIFAR-10 not found" in message_of(TinySplitCifar10, None)


def test_half_a_copy_says_what_it_lacks(raw: Path, batches: Path) -> None:
    (raw / "t10k-labels-idx1-ubyte").unlink()
    message = message_of(TinySplitFashionMnist, raw)
    assert f"{raw} looks like IDX files but lacks t10k-labels-idx1-ubyte" in message
    (batches / "data_batch_3").unlink()
    assert "looks like cifar-10-batches-py pickles but lacks data_batch_3" in message_of(TinySplitCifar10, batches)


@pytest.mark.parametrize(
    ("kind", "fetched_by", "write"),
    [
        (TinySplitFashionMnist, "FashionMNIST", lambda root: write_idx(FASHION_PARTS, root / "FashionMNIST" / "raw")),
        (TinySplitCifar10, "CIFAR10", lambda root: write_batches(CIFAR_PARTS, root / "cifar-10-batches-py")),
    ],
)
def test_download_is_asked_of_torchvision_and_a_failure_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[SplitScenario],
    fetched_by: str,
    write: Callable[[Path], Path],
) -> None:
    def fetch(root: str, download: bool) -> None:
        if Path(root).name == "unreachable":
            raise OSError("no network\nat all")
        write(Path(root))

    module = types.SimpleNamespace(**{fetched_by: fetch})
    monkeypatch.setitem(sys.modules, "torchvision", types.SimpleNamespace(datasets=module))
    monkeypatch.setitem(sys.modules, "torchvision.datasets", module)
    assert len(load(kind, tmp_path / "new", download=True)) == 5
    message = message_of(kind, tmp_path / "unreachable", download=True)
    assert "could not be downloaded into" in message
    assert "(no network)" in message


class TestIdx:
    """Files of IDX format that are not what their names say."""

    IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"

    @pytest.mark.parametrize("zipped", [False, True])
    @pytest.mark.parametrize("keep", [0.0, 0.5, 0.999])
    @pytest.mark.parametrize("name", [IMAGES, LABELS])
    def test_a_truncated_file_is_named(self, tmp_path: Path, name: str, keep: float, zipped: bool) -> None:
        folder = write_idx(FASHION_PARTS, tmp_path / "raw", zipped)
        file = folder / (f"{name}.gz" if zipped else name)
        content = file.read_bytes()
        file.write_bytes(content[: int(keep * len(content))])
        message = message_of(TinySplitFashionMnist, folder)
        assert str(file) in message
        assert "truncated" in message or "begins with nothing" in message

    def test_a_damaged_archive_is_named(self, tmp_path: Path) -> None:
        file = write_idx(FASHION_PARTS, tmp_path / "raw", zipped=True) / f"{self.IMAGES}.gz"
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 255
        file.write_bytes(content)
        assert "damaged" in message_of(TinySplitFashionMnist, file.parent)

    def test_images_and_labels_that_are_swapped(self, raw: Path) -> None:
        swap(raw / self.IMAGES, raw / self.LABELS)
        message = message_of(TinySplitFashionMnist, raw)
        assert f"{raw / self.LABELS}: is an IDX file of images, expected labels; are the files" in message

    def test_train_and_test_that_are_swapped(self, raw: Path) -> None:
        for kind in ("images-idx3", "labels-idx1"):
            swap(raw / f"train-{kind}-ubyte", raw / f"t10k-{kind}-ubyte")
        message = message_of(TinySplitFashionMnist, raw)
        assert "class T-shirt/top has 2 images, expected 10 (10 classes have a wrong count)" in message
        assert "are the files of train and test swapped?" in message

    def test_images_of_one_copy_beside_labels_of_another(self, raw: Path) -> None:
        (raw / self.IMAGES).write_bytes(idx(FASHION_PARTS["train"].images[:-1, 0]))
        assert "holds 99 images, but train-labels-idx1-ubyte 100 labels" in message_of(TinySplitFashionMnist, raw)

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            (
                b"\x03\x08\x00\x00" + bytes(12),
                "not an IDX file of bytes: it begins with 03 08 00 00, expected 00 00 08 03",
            ),
            (idx(np.zeros((100, 32, 32))), "holds images of 32x32, expected 28x28"),
            (idx(np.zeros((100, 28))), "is an IDX file of 2 dimensions, expected images"),
            (idx(np.zeros((100, 28, 28))) + b"\0", "but it holds more than that"),
            (b"\0\0\x08", "not an IDX file of bytes: it begins with 00 00 08, expected 00 00 08 03"),
            (
                b"\0\0\x08\x03" + b"\xff" * 4 + b"\0\0\0\x1c" * 2,
                "its header names 4294967295 images, more than the 10000000",
            ),
            (
                b"\0\0\x08\x03\0\x98\x96\x80" + b"\0\0\0\x1c" * 2 + b"few",
                "names 10000000 images, 7840000000 bytes, but it holds 3 bytes, truncated",
            ),
        ],
    )
    def test_other_content(self, raw: Path, content: bytes, says: str) -> None:
        (raw / self.IMAGES).write_bytes(content)
        message = message_of(TinySplitFashionMnist, raw)
        assert str(raw / self.IMAGES) in message
        assert says in message

    def test_labels_of_other_data(self, raw: Path) -> None:
        (raw / self.LABELS).write_bytes(idx(np.arange(100) % 11))
        assert "row 10 has label 10, expected 0..9" in message_of(TinySplitFashionMnist, raw)
        # As MNIST's files: of the same names and sizes, with unequal classes.
        (raw / self.LABELS).write_bytes(idx(np.minimum(np.arange(100) // 9, 9)))
        assert "class T-shirt/top has 9 images, expected 10" in message_of(TinySplitFashionMnist, raw)

    def test_a_file_is_known_as_gzipped_by_its_content(self, raw: Path) -> None:
        before = fingerprint_of_tasks(load(TinySplitFashionMnist, raw))
        (raw / self.IMAGES).write_bytes(gzip.compress((raw / self.IMAGES).read_bytes(), 1))
        shutil.move(raw / self.LABELS, raw / f"{self.LABELS}.gz")
        assert fingerprint_of_tasks(load(TinySplitFashionMnist, raw)) == before


def swap(one: Path, other: Path) -> None:
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def test_batches_of_other_names_sizes_or_types_are_refused(batches: Path) -> None:
    content = {"labels": [0] * 20, "data": np.zeros((20, 3072), np.uint8)}
    for wrong, says in (
        ({**content, "data": np.zeros((20, 3073), np.uint8)}, "data is uint8 (20, 3073), expected uint8 (20, 3072)"),
        ({**content, "labels": [0] * 19}, "data is uint8 (20, 3072), expected uint8 (19, 3072)"),
        ({"labels": [0]}, "has no `data`; it holds labels"),
        (content, "class airplane has 30 images, expected 10"),
    ):
        dump(wrong, batches / "data_batch_2", False)
        assert says in message_of(TinySplitCifar10, batches)
    dump({"label_names": ["cat", "dog"]}, batches / "batches.meta", False)
    assert "label_names are not airplane, automobile" in message_of(TinySplitCifar10, batches)


def test_parquet_files_of_other_data_are_refused(tmp_path: Path) -> None:
    parts = {"train": FEW.train, "test": FEW.test}
    for part, count in parts.items():
        write_parquet(tmp_path / "a" / f"{part}-0.parquet", [f"class {i % 10}" for i in range(10 * count)])
        write_parquet(tmp_path / "b" / f"{part}-0.parquet", [i % 10 for i in range(10 * count)])
        source = pictures(side=28)
        coloured = [encoded(next(source).crop((0, 0, 28, 28))) for _ in range(10 * count)]
        write_parquet(tmp_path / "c" / f"{part}-0.parquet", [i % 10 for i in range(10 * count)], images=coloured)
    assert "has a class class 0; expected T-shirt/top, " in message_of(TinySplitFashionMnist, tmp_path / "a")
    message = message_of(TinySplitFashionMnist, tmp_path / "b")
    assert "train-0.parquet: row 0: is 15x12, expected 28x28" in message
    assert "row 0: is coloured, expected a grey image" in message_of(TinySplitFashionMnist, tmp_path / "c")
    assert "a: train: class airplane has 0 images" not in message


def test_other_images_than_the_published_ones_are_another_data_set(tiny_idx: Path) -> None:
    class Known(TinySplitFashionMnist):
        images = replace(TinySplitFashionMnist.images, fingerprint="0" * 64)

    first, *rest = load(Known, tiny_idx)
    (line,) = first.warnings
    assert line.startswith(f"{tiny_idx}: these are not the published images of Fashion-MNIST")
    assert [task.warnings for task in rest] == [()] * 4

    class Published(TinySplitFashionMnist):
        images = replace(
            TinySplitFashionMnist.images,
            fingerprint=TinySplitFashionMnist(TinySplitFashionMnist.Settings(), SourceOptions(tiny_idx))
            .parts([])[0]
            .fingerprint(),
        )

    tasks = Published(Published.Settings(), SourceOptions(tiny_idx))
    assert all(task.published for task in tasks.raw_tasks([name for name, _ in tasks.task_classes()]))


def test_nothing_is_claimed_where_the_published_images_are_not_known(tiny_batches: Path) -> None:
    assert SplitCifar10.images.fingerprint == ""
    scenario = TinySplitCifar10(TinySplitCifar10.Settings(), SourceOptions(tiny_batches))
    (task,) = scenario.parts([])
    assert (task.published, task.warnings) == (False, ())


INSTALLED = split_fashion_mnist.COPIES.installed[0]


@pytest.mark.skipif(not INSTALLED.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed")
def test_the_real_images_have_their_known_counts_constants_and_fingerprint() -> None:
    scenario = SplitFashionMnist(SplitFashionMnist.Settings(), SourceOptions())
    (task,) = scenario.parts([])
    assert (task.published, task.warnings) == (True, ())
    assert np.bincount(task.train_labels).tolist() == [6000] * 10
    assert np.bincount(task.test_labels).tolist() == [1000] * 10
    values = task.train_images / 255
    assert (values.mean(), values.std()) == (
        pytest.approx(SplitFashionMnist.mean[0], abs=5e-5),
        pytest.approx(SplitFashionMnist.std[0], abs=5e-5),
    )
    assert split_cifar10.COPIES.installed == ()
