"""Images that annotation files list one by one, with their class, their part and often a box around the object."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scenarios.base import DataError
from scenarios.parts.data_location import visible_entries
from scenarios.parts.decoding import Box
from scenarios.parts.images.source import EncodedImages, ImageSource, classes_of_both
from scenarios.parts.labels import PARTS

_BATCH = 1024


class Annotated(NamedTuple):
    """One image as the files list it.

    file: of the image.
    label: name of its class.
    place: of its annotation, as an error names it.
    box: around its object; None if there is none.
    """

    file: Path
    label: str
    place: str
    box: Box | None = None


class ListedImages(ImageSource):
    """The images of one task as annotation files list them. A subclass defines `is_root`, `annotation_files` and `listed`.

    crop: True to cut each image to its box.
    """

    def __init__(self, name: str, folder: Path, crop: bool = False) -> None:
        super().__init__(name, folder)
        self._crop = crop

    @staticmethod
    @abstractmethod
    def is_root(folder: Path) -> bool:
        """True if a folder holds what tells this data set from others."""

    @classmethod
    def looks_like(cls, folder: Path) -> bool:
        """True if `folder`, or a folder in it, is the root of this data set."""
        return cls.is_root(root_that(cls.is_root, folder))

    @cached_property
    def root(self) -> Path:
        """The folder that holds the data set: `folder`, or one in it."""
        return root_that(self.is_root, self.folder)

    @property
    @abstractmethod
    def listed(self) -> Mapping[str, Sequence[Annotated]]:
        """The images of "train" and "test". Raises DataError, one line with the file that lacks or contradicts something."""

    @abstractmethod
    def annotation_files(self) -> list[Path]:
        """The files that list images, labels and boxes."""

    @property
    def classes(self) -> tuple[str, ...]:
        return classes_of_both(self, {part: {image.label for image in self.listed[part]} for part in PARTS})

    def files(self) -> list[Path]:
        images = [image for part in PARTS for image in self.listed[part]]
        for image in images:
            if not Path(os.path.normpath(image.file)).is_relative_to(os.path.normpath(self.root)):
                raise DataError(f"{image.place}: names {image.file}, which lies outside {self.root}")
            if not image.file.is_file():
                raise DataError(f"{image.place}: names {image.file}, which is not there; fetch all images")
        return [image.file for image in images] + self.annotation_files()

    @property
    def options(self) -> Mapping[str, object]:
        return {"crop_to_box": self._crop}

    def labels(self, part: str) -> NDArray[np.int64]:
        number = {name: label for label, name in enumerate(self.classes)}
        return np.array([number[image.label] for image in self.listed[part]], dtype=np.int64)

    def names(self, part: str) -> Sequence[str]:
        return [f"{self.name}/{image.file.relative_to(self.folder).as_posix()}" for image in self.listed[part]]

    def encoded(self, part: str) -> Iterator[EncodedImages]:
        images = self.listed[part]
        for start in range(0, len(images), _BATCH):
            batch = images[start : start + _BATCH]
            boxes = [self._box(image) for image in batch] if self._crop else None
            yield EncodedImages([image.file for image in batch], [str(image.file) for image in batch], boxes)

    def _box(self, image: Annotated) -> Box:
        if image.box is None:
            raise DataError(f"{image.place}: {image.file.name} has no box to crop to; leave `crop_to_box` out")
        return image.box


def class_named(names: Sequence[str], number: int, place: str) -> str:
    """The name of the class of that number, from 1. Raises DataError, at that place, if there is none."""
    if not 1 <= number <= len(names):
        raise DataError(f"{place}: names class {number}; there are classes 1 to {len(names)}")
    return names[number - 1]


def root_that(holds: Callable[[Path], bool], folder: Path) -> Path:
    """`folder`, or the first folder in it that `holds` is True for, as archives put one; `folder` itself if there is none."""
    inner: Iterable[Path] = () if holds(folder) else (entry for entry in visible_entries(folder) if entry.is_dir())
    return next((entry for entry in inner if holds(entry)), folder)
