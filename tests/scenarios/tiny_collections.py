"""Made-up data sets in the layouts of published collections (not itself a test)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.lib.recfunctions import repack_fields
from PIL import Image
from scipy.io import savemat

from tests.scenarios.pictures import pictures

SIDE, WIDE = 12, 15
"""Height and width of every picture."""
BOX = (3, 2, 11, 10)
"""Left, top, right and bottom of every box, from 0, right and bottom excluded."""


def write_stanford_cars(folder: Path, classes: Sequence[str] = ("Audi", "BMW", "Acura"), per_class: int = 5) -> Path:
    """torchvision's `stanford_cars`; two pictures of each class are test. Class numbers follow `classes`."""
    devkit, source = folder / "devkit", pictures(1)
    devkit.mkdir(parents=True)
    savemat(devkit / "cars_meta.mat", {"class_names": np.array(classes, dtype=object)})
    for part, count, file in (
        ("train", per_class, devkit / "cars_train_annos.mat"),
        ("test", 2, folder / "cars_test_annos_withlabels.mat"),
    ):
        (folder / f"cars_{part}").mkdir()
        rows = []
        for number in range(count * len(classes)):
            name = f"{number + 1:05d}.jpg"
            next(source).save(folder / f"cars_{part}" / name)
            rows.append((BOX[0] + 1, BOX[1] + 1, BOX[2], BOX[3], number % len(classes) + 1, name))
        write_annotations(file, rows)
    return folder


def write_annotations(file: Path, rows: Sequence[tuple[object, ...]], labels: bool = True) -> None:
    """The annotations of Stanford Cars: box, class and file name of each picture; without classes if `labels` is False."""
    boxes = ["bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2"]
    kinds = [*((name, object) for name in boxes), ("class", object), ("fname", object)]
    table = np.array([tuple(rows_) for rows_ in rows], dtype=kinds)
    savemat(file, {"annotations": (table if labels else repack_fields(table[[*boxes, "fname"]]))[None]})


def write_flowers(folder: Path, labels: Sequence[int] = (5, 1, 77), per_class: int = 5) -> Path:
    """torchvision's `flowers-102`; of each class two pictures are validation and one is test."""
    (folder / "jpg").mkdir(parents=True)
    of_image = [label for label in labels for _ in range(per_class)]
    for number, picture in zip(range(1, len(of_image) + 1), pictures(2), strict=False):
        picture.save(folder / "jpg" / f"image_{number:05d}.jpg")
    numbers = np.arange(1, len(of_image) + 1)
    place = (numbers - 1) % per_class
    savemat(folder / "imagelabels.mat", {"labels": np.array(of_image, dtype=np.uint8)[None]})
    parts = {"valid": place < 2, "tstid": place == 2, "trnid": place > 2}
    savemat(folder / "setid.mat", {name: numbers[mine][None] for name, mine in parts.items()})
    return folder


def write_cub(folder: Path, classes: Sequence[str] = ("001.Crow", "002.Owl", "003.Finch"), per_class: int = 6) -> Path:
    """`CUB_200_2011`; two pictures of each class are test."""
    source, lines = pictures(3), dict[str, list[str]]()
    for number in range(1, per_class * len(classes) + 1):
        label = (number - 1) % len(classes)
        file = folder / "images" / classes[label] / f"A bird {number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        next(source).save(file)
        lines.setdefault("images", []).append(f"{number} {classes[label]}/{file.name}")
        lines.setdefault("image_class_labels", []).append(f"{number} {label + 1}")
        lines.setdefault("train_test_split", []).append(f"{number} {int(number > 2 * len(classes))}")
        left, top, right, bottom = BOX
        lines.setdefault("bounding_boxes", []).append(f"{number} {left}.0 {top}.0 {right - left}.0 {bottom - top}.0")
    lines["classes"] = [f"{label} {name}" for label, name in enumerate(classes, 1)]
    for name, found in lines.items():
        (folder / f"{name}.txt").write_text("\n".join(found) + "\n")
    return folder


def cropped(file: Path) -> Image.Image:
    """The picture within its box."""
    with Image.open(file) as image:
        return image.convert("RGB").crop(BOX)
