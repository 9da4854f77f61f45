"""Handwritten digits in 5 tasks of two classes: small, shipped with scikit-learn, nothing to download.

Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI 1998: 1,797 images of 8x8 pixels with values 0..16.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from scenarios.base import Progress, RawTask, Scenario
from scenarios.parts.own_split import with_test_part


class Digits(Scenario):
    """Digits 0-1, 2-3, 4-5, 6-7, 8-9; images uint8 (N, 1, 8, 8).

    The data set has no split of its own: 30 % of each class is test, and of the rest 20 % is validation as in every scenario.
    """

    version = 1
    image_shape = (1, 8, 8)
    # Measured once, over the 1,258 images that are not test images.
    mean = (0.3056,)
    std = (0.3760,)

    def task_classes(self) -> list[tuple[str, tuple[str, ...]]]:
        return [(f"digits_{first}_{first + 1}", (str(first), str(first + 1))) for first in range(0, 10, 2)]

    def raw_tasks(self, names: Sequence[str], progress: Progress | None = None) -> list[RawTask]:
        images, digits, is_test = _read()
        classes = dict(self.task_classes())
        tasks = []
        for name in names:
            first = int(classes[name][0])
            train, test = (np.flatnonzero((digits // 2 == first // 2) & (is_test == part)) for part in (False, True))
            tasks.append(
                RawTask(name, classes[name], images[train], digits[train] - first, images[test], digits[test] - first)
            )
        return tasks


@cache
def _read() -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.bool_]]:
    """Images uint8 (1797, 1, 8, 8), digits int64 (1797,) 0..9, and the images that are test: bool (1797,)."""
    # Once per process: scikit-learn parses a text file. Nothing changes the arrays, for tasks are made of copies.
    from sklearn.datasets import load_digits

    data = load_digits()
    images = np.rint(data.images * 255 / 16).astype(np.uint8)[:, None]
    return with_test_part(images, data.target.astype(np.int64), "digits test")
