"""A test part for data sets that come without one."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from scenarios.base import canonical_order, take_stratified

TEST_FRACTION = Fraction(3, 10)


def with_test_part(
    images: NDArray[np.uint8], labels: NDArray[np.int64], salt: str
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.bool_]]:
    """Images and labels in canonical order, and the images that are test: bool (N,), 30 % of each label.

    images: uint8 (N, C, H, W).
    labels: int64 (N,).
    salt: of the choice. It depends on the pixels alone: neither file order nor the choice of tasks moves an image.
    """
    images, labels, hashes = canonical_order(images, labels)
    is_test = np.zeros(len(labels), dtype=bool)
    is_test[take_stratified(labels, hashes, TEST_FRACTION, salt)] = True
    return images, labels, is_test
