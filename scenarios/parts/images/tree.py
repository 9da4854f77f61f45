"""Images in folders: a folder per class in a part to learn from and a part to test on.

The shapes that are read: `train/<class>/*` with `test/<class>/*`, or with `val`, `valid` or `validation` where there is no
labelled `test`; one folder more below the class (`train/<class>/images/*`) or above the parts (`cars/cars/train`); and a part
whose images lie together beside a file of labels (`val/images/*` with `val/val_annotations.txt`).
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scenarios.base import DataError
from scenarios.parts.data_location import describe_folder, is_visible, visible_entries
from scenarios.parts.images.annotations import annotations_file, read_annotations
from scenarios.parts.images.settings import named
from scenarios.parts.images.source import EncodedImages, ImageSource
from scenarios.parts.labels import PARTS

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"})
"""The files that torchvision's `ImageFolder` takes for images."""

TEST_FOLDERS = ("test", "val", "valid", "validation")
"""The folders that may be the part to test on; the first that holds labels is."""

TOGETHER = "images"
"""The folder in which the images of all classes lie, if a file beside it holds their labels."""

_EXPECTED = f"expected train and test (or val), each with one folder per class, or {TOGETHER}/ beside a file of labels"
_BATCH = 1024


class _Listed(NamedTuple):
    """One image: its label and its file."""

    label: int
    file: Path


class ImageTree(ImageSource):
    """The images of one task in a tree of folders; classes are the folders' names in Unicode's normal form C."""

    kind = "image folder"

    @staticmethod
    def looks_like(folder: Path) -> bool:
        """True if `folder`, or the only folder in it, holds a folder `train` with folders in it."""
        train = _folder_in(_root_of(folder), "train")
        return train is not None and any(entry.is_dir() for entry in visible_entries(train))

    @cached_property
    def _parts(self) -> Mapping[str, Path]:
        """The folder of each part. Raises DataError."""
        root = _root_of(self.folder)
        train = _folder_in(root, "train")
        tests = [test for name in TEST_FOLDERS if (test := _folder_in(root, name)) is not None]
        if train is None or not tests:
            raise DataError(f"{describe_folder(root)}; {_EXPECTED}")
        labelled = [test for test in tests if not _is_unlabelled(test, train)]
        if not labelled:
            raise DataError(
                f"{describe_folder(tests[0])}; its images have no labels: expected one folder per class, or "
                f"{TOGETHER}/ beside a file {tests[0].name}_annotations.txt"
            )
        return {"train": train, "test": labelled[0]}

    @cached_property
    def _folders(self) -> Mapping[str, Mapping[str, Sequence[Path]]]:
        """The folders of each class of each part that has one folder per class."""
        return {part: _class_folders(folder) for part, folder in self._parts.items() if _labels_of(folder) is None}

    @cached_property
    def _annotated(self) -> Mapping[str, Mapping[str, tuple[str, int]]]:
        """The class and the line of each file name, of each part with a file of labels."""
        files = {part: _labels_of(folder) for part, folder in self._parts.items()}
        return {part: read_annotations(file) for part, file in files.items() if file is not None}

    @cached_property
    def classes(self) -> tuple[str, ...]:
        found = {part: set(folders) for part, folders in self._folders.items()}
        found |= {part: {name for name, _ in labels.values()} for part, labels in self._annotated.items()}
        if difference := sorted(found["train"] ^ found["test"]):
            raise DataError(self._of_one_part(difference[0], found))
        if len(found["train"]) < 2:
            where = self.folder if "train" in self._folders else self._parts["train"]
            raise DataError(
                f"{where}: has {len(found['train'])} classes, expected at least 2 folders in train and in test"
            )
        return tuple(sorted(found["train"]))

    def _of_one_part(self, name: str, found: Mapping[str, set[str]]) -> str:
        """The line on a class that stands in one part alone."""
        own, other = ("train", "test") if name in found["train"] else ("test", "train")
        here, there = (self._parts[part].name for part in (own, other))
        alike = sorted(each for each in found[other] - found[own] if each.casefold() == name.casefold())
        hint = f" ({there} has `{alike[0]}`)" if alike else ""
        return f"{self.folder}: train and {self._parts['test'].name} must have the same classes; `{name}` is in {here} only{hint}"

    @cached_property
    def _listed(self) -> Mapping[str, list[_Listed]]:
        number = {name: label for label, name in enumerate(self.classes)}
        found = {}
        for part, folder in self._parts.items():
            if part in self._annotated:
                found[part] = self._together(folder, self._annotated[part], number)
            else:
                found[part] = [
                    _Listed(label, image)
                    for name, label in number.items()
                    for image in _images_of(self._folders[part][name])
                ]
        return found

    def _together(
        self, folder: Path, labels: Mapping[str, tuple[str, int]], number: Mapping[str, int]
    ) -> list[_Listed]:
        """The images of a part that lie together, by label. Raises DataError if images and labels do not belong together."""
        place = folder / TOGETHER if (folder / TOGETHER).is_dir() else folder
        files = {named(file): file for file in _image_files(place)}
        # Some files of labels name images with their folder.
        wanted = {name.rpartition("/")[2]: (name, line) for name, (_, line) in labels.items()}
        source = _labels_of(folder)
        if len(wanted) < len(labels):
            raise DataError(f"{source}: names files of one name in several folders; expected all of them in {place}")
        for name in sorted(wanted.keys() - files.keys()):
            raise DataError(f"{source}, line {wanted[name][1]}: names {wanted[name][0]}, which is not in {place}")
        for name in sorted(files.keys() - wanted.keys()):
            raise DataError(f"{files[name]}: has no label; {source} does not name it")
        listed = [_Listed(number[labels[wanted[name][0]][0]], file) for name, file in files.items()]
        return sorted(listed, key=lambda image: (image.label, image.file))

    def files(self) -> list[Path]:
        labels = [file for folder in self._parts.values() if (file := _labels_of(folder)) is not None]
        return [image.file for part in PARTS for image in self._listed[part]] + labels

    def labels(self, part: str) -> NDArray[np.int64]:
        return np.array([image.label for image in self._listed[part]], dtype=np.int64)

    def names(self, part: str) -> Sequence[str]:
        return [f"{self.name}/{_shown(image.file.relative_to(self.folder))}" for image in self._listed[part]]

    def encoded(self, part: str) -> Iterator[EncodedImages]:
        files = [image.file for image in self._listed[part]]
        for start in range(0, len(files), _BATCH):
            batch = files[start : start + _BATCH]
            yield EncodedImages(batch, [str(file) for file in batch])

    @property
    def warnings(self) -> tuple[str, ...]:
        """Images that are there and are not read: deeper in the tree, or of a kind that is not read."""
        used = {image.file for part in PARTS for image in self._listed[part]}
        deeper: Counter[str] = Counter()
        other: list[Path] = []
        for folder in self._parts.values():
            for file in sorted(folder.rglob("*")):
                below = file.relative_to(self._parts["train"].parent)
                if file in used or file.is_dir() or not all(map(is_visible, below.parts)):
                    continue
                if file.suffix.lower() in SUFFIXES:
                    deeper[_shown(below.parent)] += 1
                elif file.suffix.lower() in _other_images():
                    other.append(below)
        found = [
            f"task {self.name}: {folder} holds {count} image{'' if count == 1 else 's'} that lie deeper than the others: not read"
            for folder, count in sorted(deeper.items())
        ]
        if other:
            kinds = ", ".join(sorted({file.suffix.lower() for file in other}))
            files = "1 file of a kind that is" if len(other) == 1 else f"{len(other)} files of kinds that are"
            found.append(f"task {self.name}: {files} not read ({kinds}), such as {_shown(other[0])}")
        return tuple(found)


def _shown(path: Path) -> str:
    """A path below a task's folder as text, the same wherever it was written."""
    return unicodedata.normalize("NFC", path.as_posix())


def _root_of(folder: Path) -> Path:
    """The folder that holds the parts: `folder`, or the only folder in it, for archives often hold a folder of their name."""
    if _folder_in(folder, "train") is not None:
        return folder
    inner = [entry for entry in visible_entries(folder) if entry.is_dir()]
    return inner[0] if len(inner) == 1 and _folder_in(inner[0], "train") is not None else folder


def _folder_in(folder: Path, name: str) -> Path | None:
    """The folder of that name in `folder`, or one whose name differs from it in case alone; None if there is none."""
    if (folder / name).is_dir():
        return folder / name
    return next((each for each in visible_entries(folder) if each.name.lower() == name and each.is_dir()), None)


def _labels_of(folder: Path) -> Path | None:
    """The file that holds the labels of a part; None if the part has folders of classes, or no such file."""
    return annotations_file(folder) if _lies_together(folder) else None


def _lies_together(folder: Path) -> bool:
    return {entry.name for entry in visible_entries(folder) if entry.is_dir()} <= {TOGETHER}


def _is_unlabelled(test: Path, train: Path) -> bool:
    """True if the images of a part lie together without labels, as those of a competition's test part."""
    return _lies_together(test) and _labels_of(test) is None and not (train / TOGETHER).is_dir()


def _class_folders(part: Path) -> dict[str, list[Path]]:
    """The folders of each class: several if their names differ in Unicode's normal form alone."""
    found: dict[str, list[Path]] = {}
    for entry in visible_entries(part):
        if entry.is_dir():
            found.setdefault(named(entry), []).append(entry)
    return found


def _images_of(folders: Sequence[Path]) -> list[Path]:
    """The images of a class: those directly in its folders or, if there are none, in the folders in them. Raises DataError."""
    direct = [image for folder in folders for image in _image_files(folder)]
    if direct:
        return direct
    below = [entry for folder in folders for entry in visible_entries(folder) if entry.is_dir()]
    if images := [image for folder in below for image in _image_files(folder)]:
        return images
    raise DataError(f"{describe_folder(folders[0])}; expected {', '.join(sorted(SUFFIXES))} images")


def _image_files(folder: Path) -> list[Path]:
    """The images directly in a folder. A link to nowhere counts as one, so that it is said and not left out."""
    return [entry for entry in visible_entries(folder) if entry.suffix.lower() in SUFFIXES and not entry.is_dir()]


@cache
def _other_images() -> frozenset[str]:
    """Suffixes of images that are not read."""
    return frozenset(Image.registered_extensions()) | {".heic", ".heif", ".avif", ".jxl"} - SUFFIXES
