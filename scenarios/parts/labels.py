"""Stored labels, checked: whole numbers, in range, and as many of each class as a complete copy of the data set has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenarios.base import DataError

PARTS = ("train", "test")


@dataclass(frozen=True, slots=True)
class Counts:
    """The numbers of images per class in a complete copy.

    train: to learn from.
    test: to test on.
    """

    train: int
    test: int

    def of(self, part: str) -> int:
        """The number in "train" or in "test"."""
        return self.train if part == "train" else self.test


def integers(values: Any, where: str) -> NDArray[np.int64]:
    """Stored labels as int64 (N,). Raises DataError unless they are whole numbers in one row."""
    labels = np.asarray(values)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DataError(f"{where} are not whole numbers in a row, but {labels.dtype} {labels.shape}")
    return labels.astype(np.int64)


def check_range(where: str, kind: str, labels: NDArray[np.int64], count: int) -> None:
    """Raise DataError unless labels, int64 (N,), are 0..count-1. kind: names them in the message."""
    if (outside := np.flatnonzero((labels < 0) | (labels >= count))).size:
        raise DataError(f"{where}: row {outside[0]} has {kind} {labels[outside[0]]}, expected 0..{count - 1}")


def check_counts(where: str, labels: NDArray[np.int64], names: Sequence[str], counts: Counts, part: str) -> None:
    """Raise DataError unless each of the named classes has as many labels as the part of a complete copy.

    labels: int64 (N,), places in `names`.
    part: "train" or "test".
    """
    found, expected = np.bincount(labels, minlength=len(names)), counts.of(part)
    if not (wrong := np.flatnonzero(found != expected)).size:
        return
    other = next(each for each in PARTS if each != part)
    swapped = len(labels) == len(names) * counts.of(other) and (found == counts.of(other)).all()
    others = f" ({wrong.size} classes have a wrong count)" if wrong.size > 1 else ""
    guess = (
        f"these are as many as {other} has: are the files of train and test swapped?"
        if swapped
        else "is a file missing?"
    )
    first = wrong[0]
    raise DataError(f"{where}: class {names[first]} has {found[first]} images, expected {expected}{others}; {guess}")
