"""CIFAR-100 as torchvision unpacks it: pickles."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scenarios.base import DataError
from scenarios.parts.array_pickle import read_array_pickle, read_image_pickle, text_of
from scenarios.parts.cifar100.classes import (
    COARSE_NAMES,
    COARSE_OF_FINE,
    FINE_NAMES,
    WITHIN_OF_FINE,
)
from scenarios.parts.cifar100.reader import (
    IMAGE_SHAPE,
    GrowingTask,
    Reader,
    check_labels,
)
from scenarios.parts.decoded_cache import DecodedTask
from scenarios.parts.decoding import Tick
from scenarios.parts.labels import PARTS, check_counts


class PickleReader(Reader):
    """torchvision's `cifar-100-python`: pickled `train`, `test` (images and both labels) and `meta` (names)."""

    kind = "cifar-100-python pickles"

    @classmethod
    def missing(cls, folder: Path) -> list[str] | None:
        lacking = [name for name in (*PARTS, "meta") if not (folder / name).is_file()]
        return None if len(lacking) == 3 else lacking

    def source_files(self, superclass: str) -> list[Path]:
        return [self.folder / name for name in (*PARTS, "meta")]

    def read(self, superclasses: Sequence[str], tick: Tick) -> dict[str, DecodedTask]:
        self._check_names()
        found = {name: GrowingTask.empty(self.counts) for name in superclasses}
        for part in PARTS:
            file = self.folder / part
            images, fine = self._read_part(file, part)
            coarse = COARSE_OF_FINE[fine]
            for name in superclasses:
                rows = np.flatnonzero(coarse == COARSE_NAMES.index(name))
                found[name].add(part, images[rows], WITHIN_OF_FINE[fine[rows]])
                tick(len(rows))
        return {name: arrays.finish() for name, arrays in found.items()}

    def _check_names(self) -> None:
        file = self.folder / "meta"
        content = read_array_pickle(file)
        for key, expected in (("fine_label_names", FINE_NAMES), ("coarse_label_names", COARSE_NAMES)):
            names = content.get(key)
            if not isinstance(names, list) or tuple(text_of(name) for name in names) != expected:
                raise DataError(f"{file}: {key} are not the {len(expected)} names of CIFAR-100")

    def _read_part(self, file: Path, part: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        images, (fine, coarse) = read_image_pickle(file, ("fine_labels", "coarse_labels"), IMAGE_SHAPE)
        check_labels(str(file), fine, coarse)
        check_counts(str(file), fine, FINE_NAMES, self.counts, part)
        return images, fine
