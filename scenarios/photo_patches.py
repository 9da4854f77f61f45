"""Small pieces of two photographs that ship with scikit-learn: other data of the digits' size, to be pre-trained on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scenarios.base import Progress, RawTask, Scenario
from scenarios.parts.own_split import with_test_part

_SIDE, _SHRINK = 8, 2
_GREY = np.array([0.299, 0.587, 0.114])
"""ITU-R BT.601."""


class PhotoPatches(Scenario):
    """One task: patches of `china.jpg` against patches of `flower.jpg`. Images uint8 (N, 1, 8, 8), grey, at half the resolution.

    Patches do not overlap; 30 % of those of each photograph are test.
    """

    version = 1
    image_shape = (1, 8, 8)
    # Measured once, over the 1,456 patches that are not test images.
    mean = (0.4147,)
    std = (0.3078,)

    def task_classes(self) -> list[tuple[str, tuple[str, ...]]]:
        return [("photographs", ("china", "flower"))]

    def raw_tasks(self, names: Sequence[str], progress: Progress | None = None) -> list[RawTask]:
        from sklearn.datasets import load_sample_images

        patches = [_patches(photograph) for photograph in load_sample_images().images]
        labels = np.repeat(np.arange(len(patches)), [len(part) for part in patches])
        images, labels, is_test = with_test_part(np.concatenate(patches), labels, "photo patches test")
        classes = dict(self.task_classes())
        return [
            RawTask(name, classes[name], images[~is_test], labels[~is_test], images[is_test], labels[is_test])
            for name in names
        ]


def _patches(photograph: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Cut a photograph (height, width, 3) into grey patches (N, 1, 8, 8), each pixel the mean of 2x2; equal ones stand once."""
    side = _SIDE * _SHRINK
    rows, columns = (length // side for length in photograph.shape[:2])
    grey = (photograph[: rows * side, : columns * side] @ _GREY).reshape(rows, _SIDE, _SHRINK, columns, _SIDE, _SHRINK)
    small = np.rint(grey.mean((2, 5))).astype(np.uint8).transpose(0, 2, 1, 3).reshape(-1, 1, _SIDE, _SIDE)
    return np.unique(small, axis=0)
