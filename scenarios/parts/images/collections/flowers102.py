"""Oxford 102 Flowers as torchvision's `Flowers102` keeps it: `jpg/` beside two .mat files.

Nilsback and Zisserman, Automated flower classification over a large number of classes, 2008.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from scenarios.base import DataError
from scenarios.parts.data_location import describe_folder
from scenarios.parts.images.collections.listed import Annotated, ListedImages, class_named
from scenarios.parts.images.collections.matlab import read_numbers

HOLDS = "jpg/image_*.jpg, imagelabels.mat and setid.mat"

_PARTS = {"train": ("trnid", "valid"), "test": ("tstid",)}
"""The variables of `setid.mat` that list each part. The published validation images are learned from: a validation split is made
of training images in every scenario."""


class Flowers102Images(ListedImages):
    """The flowers, under the names that torchvision gives the 102 classes. There are no boxes."""

    kind = "Oxford 102 Flowers"

    @staticmethod
    def is_root(folder: Path) -> bool:
        """True if `folder` holds one of the .mat files or `jpg`."""
        return any((folder / name).is_file() for name in ("setid.mat", "imagelabels.mat")) or (folder / "jpg").is_dir()

    def annotation_files(self) -> list[Path]:
        return [self.root / "imagelabels.mat", self.root / "setid.mat"]

    @cached_property
    def listed(self) -> Mapping[str, Sequence[Annotated]]:
        from torchvision.datasets import Flowers102

        labels_file, parts_file = self.annotation_files()
        for file in (labels_file, parts_file):
            if not file.is_file():
                raise DataError(f"{file}: not there ({describe_folder(self.root)}); Flowers 102 is read from {HOLDS}")
        labels = read_numbers(labels_file, "labels")
        found: dict[str, list[Annotated]] = {}
        part_of: dict[int, str] = {}
        for part, variables in _PARTS.items():
            found[part] = []
            for number in (number for variable in variables for number in read_numbers(parts_file, variable)):
                place = f"{parts_file}: image {number}"
                if not 1 <= number <= len(labels):
                    raise DataError(f"{place}: {labels_file.name} holds labels of images 1 to {len(labels)}")
                if number in part_of:
                    raise DataError(f"{place}: stands in {part_of[number]} and in {part}; leave it in one list")
                part_of[number] = part
                name = class_named(Flowers102.classes, labels[number - 1], f"{labels_file}: image {number}")
                found[part].append(Annotated(self.root / "jpg" / f"image_{number:05d}.jpg", name, place))
        return found
