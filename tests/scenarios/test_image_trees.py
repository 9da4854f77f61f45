"""The trees of folders that people have: other names of the parts, a folder more or less, files of labels, what systems leave."""

from __future__ import annotations

import os
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scenarios.base import DataError, SourceOptions, Task, fingerprint_of_tasks
from scenarios.image_folder import ImageFolder
from tests.scenarios.pictures import pictures, write_class, write_tiny_imagenet, write_tree


def load(root: Path, *folders: str, **settings: object) -> list[Task]:
    chosen = ImageFolder.Settings(**{"folders": folders or ("t",), "image_size": 8, **settings})
    return ImageFolder(chosen, SourceOptions(root)).load()


def message_of(root: Path, **settings: object) -> str:
    with pytest.raises(DataError) as error:
        load(root, **settings)
    assert "\n" not in str(error.value)
    return str(error.value)


def counts(task: Task) -> tuple[int, int]:
    return len(task.train) + len(task.validation), len(task.test)


@pytest.fixture
def plain(tmp_path: Path) -> list[Task]:
    """The usual layout of the same pictures."""
    return load(write_tree(tmp_path / "plain" / "t").parent)


@pytest.mark.parametrize("test", ["test", "val", "valid", "validation"])
@pytest.mark.parametrize("below", ["", "images", "pictures"])
@pytest.mark.parametrize("wrapped", ["", "t", "anything"])
def test_every_shape_of_the_tree_gives_the_same_task(
    tmp_path: Path, plain: list[Task], test: str, below: str, wrapped: str
) -> None:
    write_tree(tmp_path / "t" / wrapped, test, below=below)
    tasks = load(tmp_path)
    assert fingerprint_of_tasks(tasks) == fingerprint_of_tasks(plain)
    assert tasks[0].warnings == ()


def test_parts_may_be_written_in_capitals(tmp_path: Path, plain: list[Task]) -> None:
    tree = write_tree(tmp_path / "made")
    (tmp_path / "t").mkdir()
    for part in ("train", "test"):
        (tree / part).rename(tmp_path / "t" / part.title())
    assert fingerprint_of_tasks(load(tmp_path)) == fingerprint_of_tasks(plain)


@pytest.mark.parametrize("place", ["train/a", "train/a/0.png"])
def test_a_name_that_is_no_text_is_named(tmp_path: Path, place: str) -> None:
    old = write_tree(tmp_path / "birds") / place
    old.rename(old.with_name(os.fsdecode(b"caf\xe9" + old.suffix.encode())))
    assert r"holds a name that is no UTF-8 text, 'caf\udce9" in message_of(tmp_path, folders=("birds",))


def test_a_line_break_in_a_name_breaks_no_line(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "t", classes=("a\nb", "c\x1b[31m"))
    shutil.copy(tree / "train" / "a\nb" / "0.png", tree / "test" / "a\nb" / "x.png")
    (line,) = load(tmp_path)[0].warnings
    assert "t/test/a\\nb/x.png (a\\nb)" in line
    write_class(tree / "train" / "x\ny\x1b", 1, pictures(3))
    assert "`x\\ny\\x1b` is in train only" in message_of(tmp_path)


def test_what_operating_systems_leave_behind_is_no_class_and_no_picture(tmp_path: Path, plain: list[Task]) -> None:
    tree = write_tree(tmp_path / "t" / "t")
    for place in (tmp_path / "t", tree, tree / "train", tree / "test"):
        (place / "__MACOSX" / "a").mkdir(parents=True)
        (place / ".DS_Store").write_text("")
    for place in (tree / "train" / "a", tree / "test" / "b"):
        (place / "Thumbs.db").write_text("")
        (place / "._0.png").write_text("")
        (place / "__MACOSX").mkdir()
    assert fingerprint_of_tasks(load(tmp_path)) == fingerprint_of_tasks(plain)


def test_a_labelled_test_part_is_taken_before_val(tmp_path: Path, plain: list[Task]) -> None:
    write_tree(tmp_path / "t")
    write_class(tmp_path / "t" / "val" / "a", 1, pictures(9))
    assert fingerprint_of_tasks(load(tmp_path)) == fingerprint_of_tasks(plain)


@pytest.mark.parametrize("suffix", [".bmp", ".tif", ".TIFF", ".webp", ".ppm", ".jpg"])
def test_the_formats_of_torchvision_are_read(tmp_path: Path, suffix: str) -> None:
    picture = Image.fromarray(np.full((9, 9, 3), 100, np.uint8))
    write_tree(tmp_path / "t")
    picture.save(tmp_path / "t" / "test" / "a" / f"x{suffix}")
    (task,) = load(tmp_path)
    assert counts(task) == (8, 5)
    assert any(bool((image == 100).all()) for image in task.test.images)


@pytest.mark.parametrize("suffix", [".bmp", ".tif", ".webp", ".ppm", ".png", ".jpg"])
@pytest.mark.parametrize("keep", [0, 7, 0.5])
def test_a_damaged_picture_of_any_format_is_one_line_with_its_path(tmp_path: Path, suffix: str, keep: float) -> None:
    write_tree(tmp_path / "t")
    file = tmp_path / "t" / "test" / "a" / f"x{suffix}"
    next(pictures(5, 40)).save(file)
    content = file.read_bytes()
    file.write_bytes(content[: int(keep * len(content)) if keep < 1 else int(keep)])
    assert str(file) in message_of(tmp_path)


def test_pictures_that_cannot_become_eight_bit_squares_are_named(tmp_path: Path) -> None:
    write_tree(tmp_path / "t")
    file = tmp_path / "t" / "test" / "a" / "x.tif"
    Image.fromarray(np.zeros((9, 9), np.float32)).save(file)
    assert f"{file}: an image of mode F; expected 8 bits" in message_of(tmp_path)
    file.unlink()
    thin = file.with_suffix(".png")
    Image.new("RGB", (30_000, 1)).save(thin)
    assert f"{thin}: is 30000x1, too long to be resized to a shorter side of 224" in message_of(
        tmp_path, image_size=224
    )
    assert load(tmp_path, image_size=8)
    thin.unlink()
    thin.symlink_to(tmp_path / "nowhere.png")
    assert str(thin) in message_of(tmp_path)


def test_class_names_are_equal_in_either_form_of_unicode(tmp_path: Path) -> None:
    forms = {"train": "NFD", "test": "NFC"}
    for swapped in (False, True):
        source = pictures()
        for part, form in forms.items():
            for name in ("été", "noël"):
                write_class(tmp_path / f"{swapped}" / "é" / part / unicodedata.normalize(form, name), 4, source)
        forms = {"train": "NFC", "test": "NFD"}
    first, second = (load(tmp_path / f"{swapped}", "é") for swapped in (False, True))
    assert first[0].classes == ("noël", "été")
    assert fingerprint_of_tasks(first) == fingerprint_of_tasks(second)


def test_a_class_that_differs_in_case_alone_is_told(tmp_path: Path) -> None:
    write_tree(tmp_path / "t")
    (tmp_path / "t" / "test" / "a").rename(tmp_path / "t" / "test" / "A")
    assert "`A` is in test only (train has `a`)" in message_of(tmp_path)


class TestFileOfLabels:
    """Images that lie together, with their labels in a file."""

    @pytest.fixture
    def tiny(self, tmp_path: Path) -> Path:
        return write_tiny_imagenet(tmp_path / "t")

    def test_tiny_imagenet_is_read_as_it_is_published(self, tmp_path: Path, tiny: Path) -> None:
        (task,) = load(tmp_path)
        assert task.classes == ("n01", "n02")
        assert counts(task) == (8, 6)
        assert task.warnings == ()
        for i in range(6):
            with Image.open(tiny / "val" / "images" / f"{i}.JPEG") as picture:
                array = np.array(picture.convert("RGB").resize((10, 8), Image.Resampling.BILINEAR).crop((1, 0, 9, 8)))
            same = (task.test.images == torch.from_numpy(array).permute(2, 0, 1)).flatten(1).all(1)
            assert task.test.labels[same].tolist() == [i % 2]

    @pytest.mark.parametrize("separator", [",", " ", "\t"])
    def test_other_names_separators_and_a_header_are_read(self, tmp_path: Path, tiny: Path, separator: str) -> None:
        before = load(tmp_path)
        (tiny / "val" / "val_annotations.txt").unlink()
        rows = ["filename", *(f"images/{i}.JPEG" for i in range(6))]
        names = ["class", *(f"n0{1 + i % 2}" for i in range(6))]
        text = "\r\n".join(separator.join(row) for row in zip(rows, names, strict=True))
        (tiny / "val" / "labels.csv").write_text("\ufeff" + text, encoding="utf-8")
        assert fingerprint_of_tasks(load(tmp_path)) == fingerprint_of_tasks(before)

    @pytest.mark.parametrize(
        ("line", "says"),
        [
            ("9.JPEG\tn01", "val_annotations.txt, line 7: names 9.JPEG, which is not in"),
            ("0.JPEG\tn02", "line 7: 0.JPEG is n02, but n01 in line 1"),
            ("0.JPEG", "line 7: expected a file name and a class"),
            ("x/0.JPEG\tn01", "names files of one name in several folders"),
        ],
    )
    def test_a_wrong_line_is_named(self, tmp_path: Path, tiny: Path, line: str, says: str) -> None:
        with (tiny / "val" / "val_annotations.txt").open("a") as file:
            file.write(f"{line}\n")
        assert says in message_of(tmp_path)

    def test_a_picture_without_a_label_or_of_another_class_is_named(self, tmp_path: Path, tiny: Path) -> None:
        lines = (tiny / "val" / "val_annotations.txt").read_text().splitlines(keepends=True)
        (tiny / "val" / "val_annotations.txt").write_text("".join(lines[1:]))
        assert f"{tiny / 'val' / 'images' / '0.JPEG'}: has no label" in message_of(tmp_path)
        (tiny / "val" / "val_annotations.txt").write_text("".join([*lines[1:], "0.JPEG\tn03\n"]))
        assert "train and val must have the same classes; `n03` is in val only" in message_of(tmp_path)

    def test_labels_that_are_missing_empty_or_twice_are_told(self, tmp_path: Path, tiny: Path) -> None:
        labels = tiny / "val" / "val_annotations.txt"
        shutil.copy(labels, tiny / "val" / "labels.csv")
        assert "labels.csv and val_annotations.txt may both hold the labels" in message_of(tmp_path)
        (tiny / "val" / "labels.csv").unlink()
        labels.write_text("\n")
        assert f"{labels}: is empty" in message_of(tmp_path)
        labels.write_bytes(b"\xff\xfe\x00")
        assert f"{labels}: not a readable text file" in message_of(tmp_path)
        labels.unlink()
        assert "its images have no labels" in message_of(tmp_path)

    def test_labels_that_change_are_read_again(self, tmp_path: Path, tiny: Path) -> None:
        before = load(tmp_path)[0].test.labels.sum()
        text = (tiny / "val" / "val_annotations.txt").read_text()
        (tiny / "val" / "val_annotations.txt").write_text(text.replace("0.JPEG\tn01", "0.JPEG\tn02 "))
        assert load(tmp_path)[0].test.labels.sum() == before + 1


def test_pictures_that_are_there_and_not_read_are_counted(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "t")
    write_class(tree / "train" / "a" / "more", 3, pictures(7))
    next(pictures()).save(tree / "test" / "b" / "x.gif")
    (task,) = load(tmp_path)
    assert counts(task) == (8, 4)
    deeper, other = task.warnings
    assert "train/a/more holds 3 images that lie deeper than the others: not read" in deeper
    assert "1 file of a kind that is not read (.gif), such as test/b/x.gif" in other
