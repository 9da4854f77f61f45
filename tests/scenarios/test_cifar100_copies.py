"""Copies of CIFAR-100 in other columns and other encodings: the same data set pixel by pixel, or another one that says so."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scenarios.base import DataError, SourceOptions, Task, fingerprint_of_tasks
from scenarios.cifar100_superclasses import Cifar100Superclasses
from scenarios.parts.cifar100 import published, superclasses
from scenarios.parts.cifar100.classes import COARSE_NAMES, COARSE_OF_FINE, FINE_NAMES
from tests.scenarios.pictures import IMAGE, write_parquet
from tests.scenarios.tiny_cifar100 import TINY, Rows, TinyCifar100, encoded

NAMED_ELSEWHERE = list(reversed(FINE_NAMES))


def load(root: Path, **settings: object) -> list[Task]:
    return TinyCifar100(TinyCifar100.Settings(**settings), SourceOptions(root)).load()


def write_copy(parts: dict[str, Rows], folder: Path, **options: object) -> Path:
    """Shards in the columns `image` and `label`, without coarse labels."""
    for part, rows in parts.items():
        contents = [encoded(image) for image in rows.images]
        write_parquet(folder / f"{part}-00000-of-00001.parquet", rows.fine, images=contents, **options)
    return folder


@pytest.mark.parametrize(
    ("image", "label", "raw"), [("img", "fine_label", True), ("image", "label", False), ("image", "label", True)]
)
def test_coarse_labels_follow_from_the_fine_ones_whatever_the_columns_are_called(
    tmp_path: Path, tiny_parquet: Path, tiny_parts: dict[str, Rows], image: str, label: str, raw: bool
) -> None:
    copy = write_copy(tiny_parts, tmp_path / "copy", image=image, label=label, raw=raw)
    assert fingerprint_of_tasks(load(copy)) == fingerprint_of_tasks(load(tiny_parquet))


def test_labels_that_count_in_another_order_are_told_from_their_names(
    tmp_path: Path, tiny_parquet: Path, tiny_parts: dict[str, Rows]
) -> None:
    turned = {part: Rows(rows.images, 99 - rows.fine) for part, rows in tiny_parts.items()}
    copy = write_copy(turned, tmp_path / "copy", names=NAMED_ELSEWHERE)
    assert fingerprint_of_tasks(load(copy)) == fingerprint_of_tasks(load(tiny_parquet))


@pytest.mark.parametrize(
    ("labels", "options", "says"),
    [
        (np.zeros(10, int), {"names": ["owl", "crow"]}, "label names 2 classes, which are not the 100 of CIFAR-100"),
        (np.full(10, 100), {}, "row 0 has fine label 100, expected 0..99"),
        (np.zeros(10, int), {"label": "klass"}, "has no column fine_label or label; it has image, klass"),
        (np.zeros(10, int), {"image": "pic"}, "has no column img or image; it has pic, label"),
        (["apple"] * 10, {}, "label are not whole numbers in a row"),
        ([None, *range(9)], {}, "row 0 has no label"),
    ],
)
def test_other_shards_are_refused_in_one_line(
    tmp_path: Path, labels: Sequence[object], options: dict[str, object], says: str
) -> None:
    for part in ("train", "test"):
        write_parquet(tmp_path / f"{part}-0.parquet", labels, **options)
    with pytest.raises(DataError) as error:
        load(tmp_path)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_the_fingerprint_of_the_whole_is_that_of_its_superclasses() -> None:
    assert list(published.FINGERPRINTS) == list(COARSE_NAMES)
    assert hashlib.sha256("\n".join(published.FINGERPRINTS.values()).encode()).hexdigest() == published.COMPLETE


class TestPublished:
    """Images that are not the published ones are another data set, and a warning says so once."""

    @pytest.fixture
    def known(self, tiny_parquet: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """The tiny copy, as if it were the published data set."""
        tiny = TinyCifar100(TinyCifar100.Settings(), SourceOptions(tiny_parquet))
        raw = tiny.raw_tasks(COARSE_NAMES)
        monkeypatch.setattr(published, "FINGERPRINTS", {task.name: task.fingerprint() for task in raw})
        monkeypatch.setattr(Cifar100Superclasses, "counts", TINY)
        monkeypatch.setattr(superclasses, "COMPLETE", TINY)
        return tiny_parquet

    def test_a_lossless_copy_is_the_published_data_set(
        self, tmp_path: Path, known: Path, tiny_parts: dict[str, Rows]
    ) -> None:
        copy = write_copy({part: rows.shuffled(3) for part, rows in tiny_parts.items()}, tmp_path / "copy")
        for root in (known, copy):
            tasks = self.load(root)
            assert [task.warnings for task in tasks if task.warnings] == []
            assert all(task.published for task in self.scenario(root).raw_tasks(COARSE_NAMES))

    def test_a_copy_with_loss_says_so_once_and_has_another_fingerprint(
        self, tmp_path: Path, known: Path, tiny_parts: dict[str, Rows]
    ) -> None:
        copy = tmp_path / "copy"
        copy.mkdir()
        for part, rows in tiny_parts.items():
            images = [{"bytes": encoded(image, "JPEG"), "path": None} for image in rows.images]
            table = pa.table({"image": pa.array(images, IMAGE), "label": rows.fine})
            pq.write_table(table, copy / f"{part}-00000-of-00001.parquet")
        tasks = self.load(copy, tasks=3)
        (line,) = [line for task in tasks for line in task.warnings]
        assert line.startswith(
            "task aquatic_mammals: these are not the published images of CIFAR-100 (3 of 3 superclasses"
        )
        assert fingerprint_of_tasks(tasks) != fingerprint_of_tasks(self.load(known, tasks=3))

    def test_one_other_pixel_marks_its_superclass_alone(
        self, tmp_path: Path, known: Path, tiny_parts: dict[str, Rows]
    ) -> None:
        rows = tiny_parts["test"]
        images = rows.images.copy()
        images[np.flatnonzero(COARSE_OF_FINE[rows.fine] == 1)[0], 0, 0, 0] ^= 1
        copy = write_copy({**tiny_parts, "test": Rows(images, rows.fine)}, tmp_path / "copy")
        warned = [task for task in self.load(copy) if task.warnings]
        assert [task.name for task in warned] == ["fish"]
        assert "(1 of 20 superclasses differ" in warned[0].warnings[0]

    def scenario(self, root: Path, **settings: object) -> Cifar100Superclasses:
        return Cifar100Superclasses(Cifar100Superclasses.Settings(**settings), SourceOptions(root))

    def load(self, root: Path, **settings: object) -> list[Task]:
        return self.scenario(root, **settings).load()
