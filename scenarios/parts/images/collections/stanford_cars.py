"""Stanford Cars as torchvision's `StanfordCars` expects it: a devkit of .mat files beside `cars_train` and `cars_test`.

Krause et al., 3D object representations for fine-grained categorization, 2013.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from scenarios.base import DataError
from scenarios.parts.data_location import describe_folder
from scenarios.parts.images.collections.listed import Annotated, ListedImages, class_named
from scenarios.parts.images.collections.matlab import read_mat, whole_number

HOLDS = "devkit/cars_meta.mat, devkit/cars_train_annos.mat, cars_test_annos_withlabels.mat, cars_train/ and cars_test/"

_BOX = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")


class StanfordCarsImages(ListedImages):
    """The cars, 196 classes in the published data set; `class` numbers count from 1 in the order of `cars_meta.mat`."""

    kind = "Stanford Cars"

    @staticmethod
    def is_root(folder: Path) -> bool:
        """True if `folder` holds `cars_train` or the devkit."""
        return (folder / "cars_train").is_dir() or (folder / "devkit" / "cars_meta.mat").is_file()

    @cached_property
    def _annotations(self) -> Mapping[str, Path]:
        """The file of each part. Raises DataError if one is not there."""
        devkit = self.root / "devkit"
        for file in (devkit / "cars_meta.mat", devkit / "cars_train_annos.mat"):
            if not file.is_file():
                raise DataError(f"{file}: not there ({describe_folder(self.root)}); Stanford Cars is read from {HOLDS}")
        # Beside the devkit is where torchvision looks; within it is where it lies in some copies.
        tests = [folder / "cars_test_annos_withlabels.mat" for folder in (self.root, devkit)]
        test = next((file for file in tests if file.is_file()), None)
        if test is None:
            withheld = devkit / "cars_test_annos.mat"
            why = f"{withheld.name} holds boxes, and its labels are withheld; " if withheld.is_file() else ""
            raise DataError(f"{tests[0]}: not there; {why}without it test images have no labels")
        return {"train": devkit / "cars_train_annos.mat", "test": test}

    def annotation_files(self) -> list[Path]:
        return [*self._annotations.values(), self.root / "devkit" / "cars_meta.mat"]

    @cached_property
    def listed(self) -> Mapping[str, Sequence[Annotated]]:
        files = self._annotations
        names = [
            unicodedata.normalize("NFC", str(name))
            for name in read_mat(self.root / "devkit" / "cars_meta.mat", "class_names")
        ]
        if len(set(names)) < len(names):
            raise DataError(f"{self.root / 'devkit' / 'cars_meta.mat'}: gives two classes one name")
        return {part: self._part(file, self._images_of(part), names) for part, file in files.items()}

    def _images_of(self, part: str) -> Path:
        folder = self.root / f"cars_{part}"
        # Some copies hold a folder of the same name in it.
        return folder / folder.name if (folder / folder.name).is_dir() else folder

    def _part(self, file: Path, images: Path, names: Sequence[str]) -> list[Annotated]:
        rows = read_mat(file, "annotations")
        fields = rows.dtype.names or ()
        if "fname" not in fields or "class" not in fields:
            raise DataError(
                f"{file}: its annotations hold {', '.join(fields) or 'no fields'}, expected fname and class; "
                "where class is missing the labels are withheld"
            )
        found = []
        for number, row in enumerate(rows, 1):
            place = f"{file}: annotation {number}"
            box = None
            if set(_BOX) <= set(fields):
                left, top, right, bottom = (whole_number(row[field], field, place) for field in _BOX)
                # MATLAB counts from 1, and its last row and column belong to the box.
                box = (left - 1, top - 1, right, bottom)
            name = class_named(names, whole_number(row["class"], "class", place), place)
            found.append(Annotated(images / str(row["fname"]), name, place, box))
        return found
