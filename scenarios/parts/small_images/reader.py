"""The contract of a reader of a whole data set of small images, and the one way in which a copy is found, read and compared."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scenarios.base import Progress, RawTask, SourceOptions
from scenarios.parts.copies import Copies, Layout
from scenarios.parts.labels import Counts, check_counts, check_range


@dataclass(frozen=True, slots=True)
class SmallImages:
    """A published data set of small images of one size, in classes with a train and a test part.

    name: of the data set, in the names of tasks.
    classes: names, in the order of the data set's own numbers.
    image_shape: (C, H, W); C is 3, or 1 for grey images.
    counts: of a complete copy.
    fingerprint: of the published images, `RawTask.fingerprint` of all classes as one task; empty if it is not known.
    """

    name: str
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    counts: Counts
    fingerprint: str = ""

    def check(self, where: str, numbers: NDArray[np.int64], part: str) -> None:
        """Raise DataError unless numbers of classes, int64 (N,), are those of the part of a complete copy."""
        check_range(where, "label", numbers, len(self.classes))
        check_counts(where, numbers, self.classes, self.counts, part)

    def as_task(self, images: Mapping[str, NDArray[np.uint8]], numbers: Mapping[str, NDArray[np.int64]]) -> RawTask:
        """All classes as one task.

        images: uint8 (N, C, H, W) of "train" and "test".
        numbers: of the classes of each image, int64 (N,).
        """
        names = sorted(self.classes)
        places = np.array([names.index(name) for name in self.classes])
        train, test = (places[numbers[part]] for part in ("train", "test"))
        return RawTask(self.name, tuple(names), images["train"], train, images["test"], test)


class SmallReader(Layout):
    """A data set in one folder, in one layout.

    folder: the folder.
    data: the data set.
    """

    def __init__(self, folder: Path, data: SmallImages) -> None:
        self.folder, self.data = folder, data

    @abstractmethod
    def read(self, progress: Progress | None = None) -> RawTask:
        """All classes as one task. Raises DataError, one line, if files are truncated, damaged, swapped or of other data."""


def read_copy(
    data: SmallImages, copies: Copies[SmallReader], source: SourceOptions, progress: Progress | None = None
) -> RawTask:
    """All classes as one task, from the first copy that is found.

    Other images than the published ones are another data set, and a warning says so. Raises DataError.
    """
    folder, layout = copies.find(source)
    task = layout(folder, data).read(progress)
    found = task.fingerprint() if data.fingerprint else ""
    if found == data.fingerprint:
        return replace(task, published=bool(found))
    line = (
        f"{folder}: these are not the published images of {copies.called} (saved again as JPEG, or another data set in the same "
        f"files?), but another data set ({found[:8]}), which is not compared with the published one"
    )
    return replace(task, warnings=(line, *task.warnings))
