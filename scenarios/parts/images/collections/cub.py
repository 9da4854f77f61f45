"""Caltech-UCSD Birds 200-2011 in its own layout: `images/` beside text files that list images, classes, parts and boxes.

Wah et al., The Caltech-UCSD Birds-200-2011 dataset, 2011. As folders `train/<class>` and `test/<class>` it is a tree.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from scenarios.base import DataError
from scenarios.parts.data_location import describe_folder
from scenarios.parts.decoding import Box
from scenarios.parts.images.collections.listed import Annotated, ListedImages

HOLDS = (
    "images/, images.txt, image_class_labels.txt, train_test_split.txt, classes.txt, and bounding_boxes.txt for boxes"
)

_PART_OF = {"1": "train", "0": "test"}


class _CubLine(NamedTuple):
    """The text behind the number at the start of a line, and the line as an error names it."""

    rest: str
    place: str


class CubImages(ListedImages):
    """The birds, 200 classes in the published data set, named as in `classes.txt` (`001.Black_footed_Albatross`)."""

    kind = "CUB-200-2011"

    @staticmethod
    def is_root(folder: Path) -> bool:
        """True if `folder` holds the files of labels or parts."""
        return (folder / "image_class_labels.txt").is_file() or (folder / "train_test_split.txt").is_file()

    def annotation_files(self) -> list[Path]:
        names = ("images.txt", "image_class_labels.txt", "train_test_split.txt", "classes.txt")
        return [self.root / name for name in (*names, *(("bounding_boxes.txt",) if self._crop else ()))]

    @cached_property
    def listed(self) -> Mapping[str, Sequence[Annotated]]:
        for file in self.annotation_files():
            if not file.is_file():
                raise DataError(f"{file}: not there ({describe_folder(self.root)}); CUB-200-2011 is read from {HOLDS}")
        tables = {file.name: _numbered(file) for file in self.annotation_files()}
        boxes = tables.get("bounding_boxes.txt")
        names = {number: unicodedata.normalize("NFC", line.rest) for number, line in tables["classes.txt"].items()}
        if len(set(names.values())) < len(names):
            raise DataError(f"{self.root / 'classes.txt'}: gives two classes one name")
        found: dict[str, list[Annotated]] = {"train": [], "test": []}
        for number, image in tables["images.txt"].items():
            label = _of(tables["image_class_labels.txt"], number, image, "image_class_labels.txt")
            split = _of(tables["train_test_split.txt"], number, image, "train_test_split.txt")
            if split.rest not in _PART_OF:
                raise DataError(f"{split.place}: {split.rest}, expected 1 (to learn from) or 0 (to test on)")
            if label.rest not in names:
                raise DataError(f"{label.place}: names class {label.rest}, which is not in classes.txt")
            box = None if boxes is None else _box(_of(boxes, number, image, "bounding_boxes.txt"))
            file = self.root / "images" / image.rest
            found[_PART_OF[split.rest]].append(Annotated(file, names[label.rest], image.place, box))
        return found


def _numbered(file: Path) -> dict[str, _CubLine]:
    """The lines of a file by the number at their start. Raises DataError."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: not a readable text file ({error})") from error
    found: dict[str, _CubLine] = {}
    for count, line in enumerate(lines, 1):
        if not line.strip():
            continue
        place, (number, _, rest) = f"{file}, line {count}", line.strip().partition(" ")
        if not number.isdecimal() or not rest.strip():
            raise DataError(f"{place}: expected a number and what it stands for, separated by a space")
        if number in found:
            raise DataError(f"{place}: {number} stands there twice")
        found[number] = _CubLine(rest.strip(), place)
    return found


def _of(lines: Mapping[str, _CubLine], number: str, image: _CubLine, file: str) -> _CubLine:
    if number not in lines:
        raise DataError(f"{image.place}: image {number} has no line in {file}")
    return lines[number]


def _box(line: _CubLine) -> Box:
    """The box from the text `x y width height`. Raises DataError."""
    try:
        left, top, width, height = (float(value) for value in line.rest.split())
        return (round(left), round(top), round(left + width), round(top + height))
    except (ValueError, OverflowError) as error:
        raise DataError(f"{line.place}: {line.rest}, expected x, y, width and height of a box") from error
