"""The contract of a reader of CIFAR-100, and the checks and arrays that all readers share.

A reader checks labels, counts and sizes before it decodes, and decodes only the superclasses asked for.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scenarios.base import DataError
from scenarios.parts.cifar100.classes import (
    COARSE_NAMES,
    COARSE_OF_FINE,
    FINE_NAMES,
    SUPERCLASS_OF,
)
from scenarios.parts.copies import Layout
from scenarios.parts.decoded_cache import DecodedTask
from scenarios.parts.decoding import Tick
from scenarios.parts.images.preparation import Untouched
from scenarios.parts.labels import PARTS, Counts, check_range

IMAGE_SHAPE = (3, 32, 32)

COMPLETE = Counts(train=500, test=100)
"""The published numbers of images per fine class."""

_UNTOUCHED = Untouched(IMAGE_SHAPE)


class Reader(Layout):
    """CIFAR-100 in one folder, in one layout.

    folder: the folder.
    counts: of a complete copy.
    """

    def __init__(self, folder: Path, counts: Counts) -> None:
        self.folder = folder
        self.counts = counts

    @abstractmethod
    def source_files(self, superclass: str) -> list[Path]:
        """The files that decide the images of a superclass. Raises DataError if a file is missing."""

    @abstractmethod
    def read(self, superclasses: Sequence[str], tick: Tick) -> dict[str, DecodedTask]:
        """Images uint8 (N, 3, 32, 32) and labels 0..4 of the named superclasses, in any order.

        Raises DataError if the data is truncated, damaged or not CIFAR-100.
        """


class GrowingTask:
    """One superclass while it is read: arrays of the final size, filled from the front, so that nothing is held twice."""

    def __init__(self, arrays: dict[str, tuple[NDArray[np.uint8], NDArray[np.int64]]]) -> None:
        self._arrays = arrays
        self._filled = dict.fromkeys(PARTS, 0)

    @classmethod
    def empty(cls, counts: Counts) -> GrowingTask:
        """Arrays of the size of a complete superclass."""
        sizes = {part: 5 * counts.of(part) for part in PARTS}
        return cls({p: (np.empty((n, *IMAGE_SHAPE), np.uint8), np.empty(n, np.int64)) for p, n in sizes.items()})

    def add(self, part: str, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
        """Append images, uint8 (N, 3, 32, 32), and labels, int64 (N,) 0..4, to "train" or "test"."""
        start = self._filled[part]
        self._filled[part] = end = start + len(labels)
        self._arrays[part][0][start:end] = images
        self._arrays[part][1][start:end] = labels

    def finish(self) -> DecodedTask:
        """The whole task."""
        # Counts are checked before anything is decoded, so a failure here is a bug, not a user's mistake.
        assert all(self._filled[part] == len(self._arrays[part][1]) for part in PARTS)
        return DecodedTask(*self._arrays["train"], *self._arrays["test"])


def check_labels(where: str, fine: NDArray[np.int64], coarse: NDArray[np.int64] | None) -> None:
    """Raise DataError unless fine and coarse labels, int64 (N,) each, are in range and belong together.

    coarse: None if there are none: they follow from the fine ones.
    """
    check_range(where, "fine label", fine, len(FINE_NAMES))
    if coarse is None:
        return
    if len(fine) != len(coarse):
        raise DataError(f"{where}: has {len(fine)} fine labels but {len(coarse)} coarse labels")
    check_range(where, "coarse label", coarse, len(COARSE_NAMES))
    if (wrong := np.flatnonzero(COARSE_OF_FINE[fine] != coarse)).size:
        row = wrong[0]
        name = FINE_NAMES[fine[row]]
        raise DataError(
            f"{where}: fine and coarse labels disagree on {wrong.size} rows; row {row} is {fine[row]} ({name}) in "
            f"{coarse[row]} ({COARSE_NAMES[coarse[row]]}), but {name} belongs to {SUPERCLASS_OF[name]}"
        )


def to_array(image: Image.Image, where: str) -> NDArray[np.uint8]:
    """An RGB image as uint8 (3, 32, 32). Raises DataError for one of another size."""
    return _UNTOUCHED.of_part("train", image, where)
