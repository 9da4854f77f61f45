"""Images that stand under two classes, or to learn from and to test on, are told with their names."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from scenarios.base import SourceOptions, Task
from scenarios.digits import Digits
from scenarios.image_folder import ImageFolder
from scenarios.photo_patches import PhotoPatches
from tests.scenarios.pictures import write_tree


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "t")


def load(root: Path, *folders: str) -> list[Task]:
    return ImageFolder(ImageFolder.Settings(folders=folders or ("t",), image_size=8), SourceOptions(root)).load()


def test_nothing_is_told_of_sound_data(tmp_path: Path, tree: Path) -> None:
    shutil.copy(tree / "train" / "a" / "0.png", tree / "train" / "a" / "again.png")
    assert load(tmp_path)[0].warnings == ()
    for scenario in (Digits, PhotoPatches):
        assert [task.warnings for task in scenario(scenario.Settings()).load() if task.warnings] == []


def test_a_file_under_two_classes_is_told(tmp_path: Path, tree: Path) -> None:
    shutil.copy(tree / "train" / "a" / "0.png", tree / "train" / "b" / "x.png")
    (line,) = load(tmp_path)[0].warnings
    assert line == ("task t: 1 image stands under two classes, such as t/train/a/0.png (a) and t/train/b/x.png (b)")
    shutil.copy(tree / "train" / "a" / "1.png", tree / "train" / "b" / "y.png")
    assert load(tmp_path)[0].warnings[0].startswith("task t: 2 images stand under two classes")


def test_a_file_to_learn_from_and_to_test_on_is_told(tmp_path: Path, tree: Path) -> None:
    shutil.copy(tree / "train" / "a" / "0.png", tree / "test" / "a" / "x.png")
    (line,) = load(tmp_path)[0].warnings
    assert line == (
        "task t: 1 of 5 test images is an image to learn from, such as t/test/a/x.png (a) and t/train/a/0.png (a)"
    )


def test_a_test_image_that_another_task_learns_from_is_told(tmp_path: Path, tree: Path) -> None:
    other = write_tree(tmp_path / "u", seed=1)
    shutil.copy(tree / "train" / "a" / "0.png", other / "test" / "b" / "x.png")
    first, second = load(tmp_path, "t", "u")
    assert first.warnings == ()
    assert second.warnings == (
        "task u: 1 of 5 test images is an image to learn from in task t, such as u/test/b/x.png (b) and t/train/a/0.png (a)",
    )
    assert load(tmp_path, "u")[0].warnings == ()


def test_warnings_change_no_fingerprint(tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(tree / "train" / "a" / "0.png", tree / "test" / "a" / "x.png")
    told = load(tmp_path)[0]
    read = ImageFolder.raw_tasks
    monkeypatch.setattr(
        ImageFolder, "raw_tasks", lambda *given: [replace(task, published=True) for task in read(*given)]
    )
    untold = load(tmp_path)[0]
    assert told.warnings
    assert untold.warnings == ()
    assert told.fingerprint == untold.fingerprint
