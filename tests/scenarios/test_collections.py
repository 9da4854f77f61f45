"""Published collections in their own layouts, against torchvision's readers; and what is wrong with a copy, in one line."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from torchvision.datasets import Flowers102, StanfordCars

from scenarios.base import DataError, SourceOptions, Task
from scenarios.fine_grained import FineGrained
from scenarios.parts.images.preparation import resize_and_crop
from tests.scenarios import tiny_collections as tiny

WRITERS = {
    "stanford_cars": tiny.write_stanford_cars,
    "flowers-102": tiny.write_flowers,
    "CUB_200_2011": tiny.write_cub,
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, write in WRITERS.items():
        write(tmp_path / "data" / name)
    return tmp_path / "data"


def make(root: Path, name: str, **settings: object) -> FineGrained:
    given = {"data_sets": [name], "image_size": 8, "train_size": 8, **settings}
    return FineGrained(FineGrained.Settings(**given), SourceOptions(root))


def message_of(root: Path, name: str, **settings: object) -> str:
    with pytest.raises(DataError) as error:
        make(root, name, **settings).load()
    assert "\n" not in str(error.value)
    return str(error.value)


def seen(image: Image.Image) -> bytes:
    return resize_and_crop(image.convert("RGB"), "", 8).tobytes()


def of_task(task: Task, *parts: str) -> Counter[tuple[str, bytes]]:
    """Class name and pixels of every image."""
    return Counter(
        (task.classes[label], image.numpy().tobytes())
        for part in parts
        for image, label in zip(getattr(task, part).images, getattr(task, part).labels.tolist(), strict=True)
    )


def test_stanford_cars_are_those_of_torchvision(root: Path) -> None:
    (task,) = make(root, "stanford_cars").load()
    assert task.classes == ("Acura", "Audi", "BMW")
    for split, parts in (("train", ("train", "validation")), ("test", ("test",))):
        theirs = StanfordCars(root, split)
        assert of_task(task, *parts) == Counter((theirs.classes[label], seen(image)) for image, label in theirs)


def test_flowers_are_those_of_torchvision_and_its_validation_images_are_learned_from(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (task,) = make(root, "flowers-102").load()
    monkeypatch.setattr(Flowers102, "_check_integrity", lambda self: True)  # it knows the published files alone
    theirs = {split: Flowers102(root, split) for split in ("train", "val", "test")}
    names = Flowers102.classes

    def expected(*splits: str) -> Counter[tuple[str, bytes]]:
        return Counter((names[label], seen(image)) for split in splits for image, label in theirs[split])

    assert task.classes == tuple(sorted(names[number - 1] for number in (5, 1, 77)))
    assert of_task(task, "train", "validation") == expected("train", "val")
    assert of_task(task, "test") == expected("test")


def test_birds_are_as_their_files_list_them(root: Path) -> None:
    (task,) = make(root, "CUB_200_2011").load()
    assert task.classes == ("001.Crow", "002.Owl", "003.Finch")
    folder = root / "CUB_200_2011" / "images"
    files = {int(file.stem.split()[-1]): file for file in folder.rglob("*.jpg")}
    for parts, numbers in ((("test",), range(1, 7)), (("train", "validation"), range(7, 19))):
        assert of_task(task, *parts) == Counter((files[i].parent.name, seen(Image.open(files[i]))) for i in numbers)


@pytest.mark.parametrize("name", ["stanford_cars", "CUB_200_2011"])
def test_images_are_cut_to_their_boxes_if_that_is_asked_for(root: Path, name: str) -> None:
    (task,) = make(root, name, crop_to_box=True).load()
    expected = {seen(tiny.cropped(file)) for file in (root / name).rglob("*.jpg")}
    assert {pixels for _, pixels in of_task(task, "train", "validation", "test")} == expected
    # Decoded images of the two settings are kept apart.
    assert not set(of_task(task, "test")) & set(of_task(make(root, name).load()[0], "test"))


def test_flowers_have_no_boxes(root: Path) -> None:
    assert "no boxes to crop to (those with boxes: cub, stanford_cars)" in message_of(
        root, "flowers-102", crop_to_box=True
    )


@pytest.mark.parametrize("name", WRITERS)
def test_a_collection_may_lie_one_folder_deeper_and_is_found_by_what_it_holds(root: Path, name: str) -> None:
    (root / "mine").mkdir()
    plain = make(root, name).load()[0]
    shutil.move(root / name, root / "mine" / "copy")
    again = make(root, "mine").load()[0]
    assert of_task(plain, "train") == of_task(again, "train")
    assert again.name == "mine"


@pytest.mark.parametrize(
    ("name", "file", "line"),
    [
        ("stanford_cars", "devkit/cars_meta.mat", "not there (.*); Stanford Cars is read from devkit/cars_meta.mat"),
        ("stanford_cars", "devkit/cars_train_annos.mat", "not there"),
        ("stanford_cars", "cars_train/00003.jpg", "annotation 3: names .*00003.jpg, which is not there"),
        ("flowers-102", "setid.mat", "not there (.*); Flowers 102 is read from jpg/image_"),
        ("flowers-102", "imagelabels.mat", "not there"),
        ("flowers-102", "jpg/image_00003.jpg", "image 3: names .*image_00003.jpg, which is not there"),
        ("CUB_200_2011", "train_test_split.txt", "not there (.*); CUB-200-2011 is read from images/"),
        ("CUB_200_2011", "classes.txt", "not there"),
        (
            "CUB_200_2011",
            "images/001.Crow/A bird 4.jpg",
            "images.txt, line 4: names .*A bird 4.jpg, which is not there",
        ),
    ],
)
def test_a_file_that_is_missing_is_named_and_so_is_what_would_be_read(
    root: Path, name: str, file: str, line: str
) -> None:
    (root / name / file).unlink()
    found = message_of(root, name)
    assert file in found
    for part in line.split(".*"):
        assert part in found


def test_a_missing_devkit_and_withheld_labels_of_stanford_cars_are_said(root: Path) -> None:
    folder = root / "stanford_cars"
    shutil.rmtree(folder / "devkit")
    assert "cars_meta.mat: not there (" in message_of(root, "stanford_cars")
    shutil.rmtree(folder)
    tiny.write_stanford_cars(folder)
    rows = [(4, 3, 11, 10, 0, f"{i + 1:05d}.jpg") for i in range(6)]
    (folder / "cars_test_annos_withlabels.mat").unlink()
    tiny.write_annotations(folder / "devkit" / "cars_test_annos.mat", rows, labels=False)
    found = message_of(root, "stanford_cars")
    assert (
        "cars_test_annos_withlabels.mat: not there; cars_test_annos.mat holds boxes, and its labels are withheld"
        in found
    )
    # The file without labels under the name of the other one.
    shutil.copy(folder / "devkit" / "cars_test_annos.mat", folder / "cars_test_annos_withlabels.mat")
    assert "hold bbox_x1, bbox_y1, bbox_x2, bbox_y2, fname, expected fname and class" in message_of(
        root, "stanford_cars"
    )


@pytest.mark.parametrize(
    ("file", "old", "new", "line"),
    [
        (
            "image_class_labels.txt",
            "4 1",
            "4 9",
            "image_class_labels.txt, line 4: names class 9, which is not in classes",
        ),
        ("image_class_labels.txt", "4 1\n", "", "images.txt, line 4: image 4 has no line in image_class_labels.txt"),
        ("train_test_split.txt", "4 0", "4 2", "train_test_split.txt, line 4: 2, expected 1 (to learn from) or 0"),
        ("images.txt", "4 001", "3 001", "images.txt, line 4: 3 stands there twice"),
        ("images.txt", "4 001.Crow/", "4 /birds/", "images.txt, line 4: names /birds/A bird 4.jpg, which lies outside"),
        ("images.txt", "4 001.Crow/A bird 4", "4 ../../elsewhere", "elsewhere.jpg, which lies outside"),
        ("classes.txt", "2 002.Owl", "2 001.Crow", "classes.txt: gives two classes one name"),
        (
            "images.txt",
            "4 001.Crow/A bird 4.jpg",
            "four",
            "images.txt, line 4: expected a number and what it stands for",
        ),
        ("bounding_boxes.txt", "4 3.0 2.0", "4 30.0 2.0", "A bird 4.jpg: its box (30, 2) to (38, 10) lies outside"),
        ("bounding_boxes.txt", "4 3.0 2.0", "4 nan 2.0", "bounding_boxes.txt, line 4: nan 2.0 8.0 8.0, expected x, y"),
        ("bounding_boxes.txt", "4 3.0 2.0 8.0 8.0", "4 3.0 2.0 0.0 8.0", "A bird 4.jpg: its box (3, 2) to (3, 10)"),
    ],
)
def test_lines_of_birds_that_are_wrong_are_named(root: Path, file: str, old: str, new: str, line: str) -> None:
    path = root / "CUB_200_2011" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    assert line in message_of(root, "CUB_200_2011", crop_to_box=True)


def test_a_box_that_reaches_a_little_beyond_its_image_is_cut_off(root: Path) -> None:
    path = root / "CUB_200_2011" / "bounding_boxes.txt"
    path.write_text(path.read_text().replace("3.0 2.0 8.0 8.0", "-1.0 -1.0 9.0 8.0", 1))
    (task,) = make(root, "CUB_200_2011", crop_to_box=True).load()
    image = Image.open(root / "CUB_200_2011" / "images" / "001.Crow" / "A bird 1.jpg")
    assert ("001.Crow", seen(image.crop((0, 0, 8, 7)))) in of_task(task, "test")


def test_numbers_of_flowers_and_cars_that_name_nothing_are_told(root: Path) -> None:
    flowers, cars = root / "flowers-102", root / "stanford_cars"
    savemat(flowers / "imagelabels.mat", {"labels": np.array([[1, 103] + [5] * 13])})
    assert "imagelabels.mat: image 2: names class 103; there are classes 1 to 102" in message_of(root, "flowers-102")
    savemat(flowers / "imagelabels.mat", {"labels": np.array([[1, 2]])})
    assert "setid.mat: image 4: imagelabels.mat holds labels of images 1 to 2" in message_of(root, "flowers-102")
    savemat(flowers / "imagelabels.mat", {"other": np.array([[1, 2]])})
    assert "imagelabels.mat: has no variable labels; it has other" in message_of(root, "flowers-102")
    tiny.write_annotations(cars / "devkit" / "cars_train_annos.mat", [(4, 3, 11, 10, 7, "00001.jpg")])
    assert "cars_train_annos.mat: annotation 1: names class 7; there are classes 1 to 3" in message_of(
        root, "stanford_cars"
    )


@pytest.mark.parametrize("value", ["three", 1.5, float("nan"), float("inf"), np.array([1, 2])], ids=str)
@pytest.mark.parametrize("field", ["bbox_x1", "class"])
def test_a_value_of_cars_that_is_no_whole_number_is_told(root: Path, field: str, value: object) -> None:
    row: dict[str, object] = {
        "bbox_x1": 4,
        "bbox_y1": 3,
        "bbox_x2": 11,
        "bbox_y2": 10,
        "class": 1,
        "fname": "00001.jpg",
    }
    row[field] = value
    tiny.write_annotations(root / "stanford_cars" / "devkit" / "cars_train_annos.mat", [tuple(row.values())] * 2)
    line = message_of(root, "stanford_cars")
    assert f"cars_train_annos.mat: annotation 1: {field} is " in line
    assert line.endswith(", expected a whole number")


@pytest.mark.parametrize("value", [1.5, float("nan"), float("inf"), 1j])
def test_a_label_of_flowers_that_is_no_whole_number_is_told(root: Path, value: complex) -> None:
    savemat(root / "flowers-102" / "imagelabels.mat", {"labels": np.array([[value, 5.0]])})
    assert "(2,), expected whole numbers in a row" in message_of(root, "flowers-102")


def test_a_mat_file_that_is_truncated_is_named(root: Path) -> None:
    file = root / "flowers-102" / "setid.mat"
    file.write_bytes(file.read_bytes()[:150])
    assert f"{file}: not a readable .mat file, truncated or damaged" in message_of(root, "flowers-102")


def test_an_image_in_two_parts_or_a_class_in_one_is_told(root: Path) -> None:
    file = root / "flowers-102" / "setid.mat"
    savemat(file, {"trnid": [[1, 6, 11]], "valid": [[2, 7, 12]], "tstid": [[3, 8, 12]]})
    assert "setid.mat: image 12: stands in train and in test" in message_of(root, "flowers-102")
    savemat(file, {"trnid": [[1, 6, 11]], "valid": [[2, 7, 12]], "tstid": [[3, 8]]})
    assert "train and test must have the same classes" in message_of(root, "flowers-102")
