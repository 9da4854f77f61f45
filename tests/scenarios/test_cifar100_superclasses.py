"""CIFAR-100 from three layouts, its cache, and what it says about a missing or wrong copy; on made-up images."""

from __future__ import annotations

import os
import pickle
import shutil
import sys
import types
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from scenarios.base import DataError, SourceOptions, Task, fingerprint_of_tasks
from scenarios.parts import copies, decoded_cache
from scenarios.parts.cifar100.classes import COARSE_NAMES, COARSE_OF_FINE, FINE_NAMES, SUPERCLASS_OF, SUPERCLASSES
from scenarios.parts.decoded_cache import CacheWarning
from scenarios.parts.images import parquet_table
from scenarios.placement import cache_folder
from tests.scenarios.tiny_cifar100 import (
    Rows,
    TinyCifar100,
    dump,
    encoded,
    write_parquet,
    write_pickles,
    write_shard,
    write_tree,
)

Parts = dict[str, Rows]


def load(root: Path | None, download: bool = False, progress: object = None, **settings: object) -> list[Task]:
    scenario = TinyCifar100(TinyCifar100.Settings(**settings), SourceOptions(root, download))
    return scenario.load(progress=progress)


def message_of(root: Path | None, **settings: object) -> str:
    with pytest.raises(DataError) as error:
        load(root, **settings)
    message = str(error.value)
    assert "\n" not in message
    return message


def of_superclasses(parts: Parts, *names: str) -> Parts:
    wanted = [COARSE_NAMES.index(name) for name in names]
    chosen = {part: np.isin(COARSE_OF_FINE[rows.fine], wanted) for part, rows in parts.items()}
    return {part: Rows(rows.images[chosen[part]], rows.fine[chosen[part]]) for part, rows in parts.items()}


@pytest.fixture
def parquet(tmp_path: Path, tiny_parquet: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(tiny_parquet, tmp_path / "copy"))


@pytest.fixture
def pickles(tmp_path: Path, tiny_parts: Parts) -> Path:
    return write_pickles(tiny_parts, tmp_path / "cifar-100-python")


@pytest.fixture
def tree(tmp_path: Path, tiny_parts: Parts) -> Path:
    return write_tree(of_superclasses(tiny_parts, "aquatic_mammals"), tmp_path / "cifar100_org")


def test_names_are_alphabetical_and_each_class_has_one_superclass() -> None:
    assert len(SUPERCLASSES) == 20
    assert list(SUPERCLASSES) == sorted(SUPERCLASSES)
    assert all(list(classes) == sorted(classes) and len(classes) == 5 for classes in SUPERCLASSES.values())
    assert len(set(FINE_NAMES)) == 100
    # Known pairs of the published label sets.
    for fine, coarse in ((0, 4), (1, 1), (19, 11), (29, 15), (35, 14), (51, 4), (86, 5), (99, 13)):
        assert COARSE_OF_FINE[fine] == coarse


def test_all_layouts_give_the_same_fingerprint_whatever_their_file_order(tmp_path: Path, tiny_parts: Parts) -> None:
    shuffled = [{part: rows.shuffled(seed) for part, rows in tiny_parts.items()} for seed in range(5)]
    roots = {
        "parquet": write_parquet(shuffled[0], tmp_path / "a", shards=3),
        "lossless webp": write_parquet(shuffled[1], tmp_path / "b" / "data", shards=1, kind="WEBP").parent,
        "python 2": write_pickles(shuffled[2], tmp_path / "c" / "cifar-100-python").parent,
        "python 3": write_pickles(shuffled[3], tmp_path / "d", python2=False),
        "tree": write_tree(shuffled[4], tmp_path / "e" / "cifar100" / "cifar100_org").parents[1],
    }
    assert len({fingerprint_of_tasks(load(root)) for root in roots.values()}) == 1


@pytest.mark.parametrize("rows_per_batch", [37, 10_000])
def test_a_task_holds_the_images_of_its_classes(
    tiny_parquet: Path, tiny_parts: Parts, rows_per_batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_table, "_ROWS_PER_BATCH", rows_per_batch)
    for task in load(tiny_parquet, tasks=6, order=1):
        for label, name in enumerate(task.classes):
            assert SUPERCLASS_OF[name] == task.name
            rows = tiny_parts["test"]
            expected = {i.transpose(2, 0, 1).tobytes() for i in rows.images[rows.fine == FINE_NAMES.index(name)]}
            assert {i.numpy().tobytes() for i in task.test.images[task.test.labels == label]} == expected


@pytest.mark.parametrize("below", ["", "cifar100", "cifar100/cifar100", "nested/.."])
def test_data_is_found_in_the_root_and_in_its_usual_subfolders(tmp_path: Path, tiny_parquet: Path, below: str) -> None:
    (tmp_path / "root" / "nested").mkdir(parents=True)
    shutil.copytree(tiny_parquet, tmp_path / "root" / below, dirs_exist_ok=True)
    assert load(tmp_path / "root", tasks=1)[0].name == "aquatic_mammals"


def test_without_a_root_the_variable_and_the_data_folder_are_searched(
    tiny_parquet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "looked in data: does not exist" in message_of(None)
    monkeypatch.setenv("CONTINUAL_DATA", str(tiny_parquet.parent))
    assert load(None, tasks=1)
    monkeypatch.delenv("CONTINUAL_DATA")
    shutil.copytree(tiny_parquet, "data/cifar100")
    assert load(None, tasks=1)


def test_a_root_below_the_home_of_nobody_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    line = "~no_such_user/data: the home folder of ~no_such_user is not known; write the whole path"
    assert message_of(Path("~no_such_user/data")) == line
    monkeypatch.setenv("CONTINUAL_DATA", "~no_such_user/data")
    assert message_of(None) == line


def test_missing_data_says_where_it_looked_what_is_there_and_how_to_get_it(tmp_path: Path) -> None:
    (tmp_path / "root" / "mnist").mkdir(parents=True)
    message = message_of(tmp_path / "root")
    assert f"{tmp_path / 'root'}: holds mnist" in message
    assert "--data-root" in message
    assert "--download" in message


def test_half_a_copy_says_what_it_lacks(parquet: Path, pickles: Path) -> None:
    for shard in parquet.glob("test-*"):
        shard.unlink()
    assert "looks like parquet shards but lacks test-*.parquet" in message_of(parquet)
    (pickles / "meta").unlink()
    assert "looks like cifar-100-python pickles but lacks meta" in message_of(pickles)


def test_download_is_asked_of_torchvision_only_if_nothing_is_found(
    tmp_path: Path, tiny_parquet: Path, tiny_parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def fetch(root: str, download: bool) -> None:
        calls.append(root)
        write_pickles(tiny_parts, Path(root) / "cifar-100-python")

    module = types.SimpleNamespace(CIFAR100=fetch)
    monkeypatch.setitem(sys.modules, "torchvision", types.SimpleNamespace(datasets=module))
    monkeypatch.setitem(sys.modules, "torchvision.datasets", module)
    load(tiny_parquet, download=True, tasks=1)
    assert calls == []
    load(tmp_path / "new", download=True, tasks=1)
    load(None, download=True, tasks=1)
    assert calls == [str(tmp_path / "new"), "data"]


def test_a_failed_download_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(root: str, download: bool) -> None:
        raise OSError("no network\nat all")

    module = types.SimpleNamespace(CIFAR100=fetch)
    monkeypatch.setitem(sys.modules, "torchvision", types.SimpleNamespace(datasets=module))
    monkeypatch.setitem(sys.modules, "torchvision.datasets", module)
    assert "could not be downloaded" in message_of(tmp_path, download=True)


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_a_truncated_shard_or_pickle_is_named(parquet: Path, pickles: Path, keep: float) -> None:
    for file in (sorted(parquet.glob("train-*"))[0], pickles / "train"):
        content = file.read_bytes()
        file.write_bytes(content[: int(keep * len(content))])
        message = message_of(file.parent)
        assert str(file) in message
        assert "truncated or damaged" in message


def test_overwritten_bytes_inside_a_shard_are_noticed(parquet: Path) -> None:
    shard = sorted(parquet.glob("train-*"))[0]
    content = bytearray(shard.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4000] = bytes(4000)
    shard.write_bytes(content)
    assert str(shard) in message_of(parquet)


def test_a_damaged_image_is_named_by_shard_and_row(parquet: Path, tiny_parts: Parts) -> None:
    rows = tiny_parts["test"]
    contents = [encoded(image) for image in rows.images]
    contents[7] = contents[7][: len(contents[7]) // 2]
    for shard in parquet.glob("test-*"):
        shard.unlink()
    write_shard(parquet / "test-0.parquet", contents, rows.fine)
    name = SUPERCLASS_OF[FINE_NAMES[rows.fine[7]]]
    scenario = TinyCifar100(TinyCifar100.Settings(), SourceOptions(parquet))
    with pytest.raises(DataError, match=r"test-0\.parquet: row 7: not a readable image"):
        scenario.raw_tasks([name])


def test_a_lost_shard_shows_as_a_wrong_count(parquet: Path) -> None:
    sorted(parquet.glob("train-*"))[0].unlink()
    assert "class apple has 0 images, expected 10" in message_of(parquet)


def test_labels_that_disagree_or_do_not_exist_are_refused(parquet: Path, tiny_parts: Parts) -> None:
    shard = parquet / "test-00000-of-00002.parquet"
    contents, fine = [encoded(np.zeros((32, 32, 3), np.uint8))] * 100, tiny_parts["test"].fine[:100].copy()
    coarse = COARSE_OF_FINE[fine].copy()
    coarse[5] = 3
    write_shard(shard, contents, fine, coarse)
    assert "fine and coarse labels disagree on 1 rows; row 5" in message_of(parquet)
    fine[5] = 100
    write_shard(shard, contents, fine, np.zeros(100, np.int64))
    assert "row 5 has fine label 100, expected 0..99" in message_of(parquet)


def test_a_pickle_of_other_shape_or_names_is_refused(pickles: Path) -> None:
    dump({"fine_label_names": sorted(FINE_NAMES)[:10], "coarse_label_names": []}, pickles / "meta", False)
    assert "fine_label_names are not the 100 names" in message_of(pickles)


class _Run:
    def __init__(self, action: Callable[..., object], *arguments: object) -> None:
        self.call = action, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


@pytest.mark.parametrize("action", [_Run(os.mkdir, "owned"), _Run(eval, "open('owned', 'w')")])
def test_a_pickle_cannot_run_code(pickles: Path, action: _Run) -> None:
    (pickles / "meta").write_bytes(pickle.dumps({"fine_label_names": action}))
    assert "which is not data" in message_of(pickles)
    assert not Path("owned").exists()


def test_a_tree_with_a_wrong_count_a_stray_class_or_a_bad_picture_is_refused(tree: Path) -> None:
    assert load(tree, tasks=1)[0].name == "aquatic_mammals"
    assert f"{tree / 'train' / 'fish'}: does not exist" in message_of(tree, tasks=2)
    folder = tree / "train" / "aquatic_mammals"
    (folder / "trout").mkdir()
    assert "trout: does not belong here (trout belongs to fish)" in message_of(tree, tasks=1)
    (folder / "trout").rmdir()
    picture = sorted((folder / "whale").glob("*.png"))[0]
    content = picture.read_bytes()
    for wrong, says in (
        (content[:-300], "not a readable image"),
        (b"no picture", "not a PNG, JPEG, WEBP, BMP, TIFF, PPM, GIF image"),
        (encoded(np.zeros((8, 8, 3), np.uint8)), "is 8x8, expected 32x32"),
        (encoded(np.zeros((32, 32), np.uint16)), "expected 8 bits per channel"),
    ):
        picture.write_bytes(wrong)
        message = message_of(tree, tasks=1)
        assert str(picture) in message
        assert says in message
    picture.unlink()
    assert f"{folder / 'whale'}: has 9 PNG files, expected 10" in message_of(tree, tasks=1)


def decoded_count(root: Path, **settings: object) -> tuple[int, list[Task]]:
    """The number of images that a load decoded, and the tasks that it loaded."""
    seen = [0]

    def progress(what: str, done: int, total: int) -> None:
        assert seen[-1] < done <= total
        seen.append(done)

    tasks = load(root, progress=progress, **settings)
    return seen[-1], tasks


def test_images_are_decoded_once_and_only_for_the_chosen_tasks(parquet: Path, tmp_path: Path) -> None:
    count, first = decoded_count(parquet, tasks=2)
    assert count == 2 * 5 * 12
    count, again = decoded_count(parquet, tasks=3)
    assert count == 1 * 5 * 12
    assert decoded_count(parquet, tasks=3)[0] == 0
    assert [task.fingerprint for task in first] == [task.fingerprint for task in again[:2]]
    assert torch.equal(first[1].train.images, again[1].train.images)
    assert not [f for f in (tmp_path / "cache" / "decoded").iterdir() if f.name.startswith(".")]


def test_a_changed_source_is_decoded_again(parquet: Path) -> None:
    load(parquet, tasks=1)
    shard = sorted(parquet.glob("train-*"))[0]
    os.utime(shard, ns=(0, shard.stat().st_mtime_ns + 1))
    assert decoded_count(parquet, tasks=1)[0] == 60


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "no manifest", "bad manifest", "a file"])
def test_a_damaged_cache_is_reported_and_made_again(parquet: Path, tmp_path: Path, damage: str) -> None:
    before = load(parquet, tasks=1)
    (entry,) = (tmp_path / "cache" / "decoded").iterdir()
    array = entry / "train_images.npy"
    content = bytearray(array.read_bytes())
    if damage == "flip":
        content[-1000] ^= 1
        array.write_bytes(content)
    elif damage == "truncate":
        array.write_bytes(content[: len(content) // 2])
    elif damage == "empty":
        array.write_bytes(b"")
    elif damage == "no manifest":
        (entry / "manifest.json").unlink()
    elif damage == "bad manifest":
        (entry / "manifest.json").write_text("[1]")
    else:
        shutil.rmtree(entry)
        entry.write_text("")
    with pytest.warns(CacheWarning, match="are damaged .* decoded again"):
        count, after = decoded_count(parquet, tasks=1)
    assert count == 60
    assert after[0].fingerprint == before[0].fingerprint
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decoded_count(parquet, tasks=1)[0] == 0


def test_an_unwritable_cache_costs_one_warning(parquet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CONTINUAL_CACHE", str(tmp_path / "file"))
    with pytest.warns(CacheWarning, match="cannot be kept") as record:
        assert len(load(parquet, tasks=3)) == 3
    assert len(record) == 1
    assert "\n" not in str(record[0].message)


def test_a_disk_that_fills_up_leaves_no_half_entry(
    parquet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, saved = np.save, []

    def fill_up(file: Path, array: np.ndarray, **options: object) -> None:
        save(file, array)
        saved.append(file)
        if len(saved) == 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(decoded_cache.np, "save", fill_up)
    with pytest.warns(CacheWarning, match="No space left on device"):
        load(parquet, tasks=1)
    assert len(saved) == 3
    assert list((tmp_path / "cache" / "decoded").iterdir()) == []


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTINUAL_CACHE", "/own")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert cache_folder() == Path("/own")
    monkeypatch.delenv("CONTINUAL_CACHE")
    assert cache_folder() == Path("/xdg/continual-adversarial-benchmark")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path("/home/somebody/.cache/continual-adversarial-benchmark")


def test_reading_imports_no_torchvision(tiny_parquet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    assert load(tiny_parquet, tasks=1)
    assert not hasattr(copies, "torchvision")
