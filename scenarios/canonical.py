"""The order of images and the choices among them, made from their pixels alone, so that two readers of the same data agree."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from fractions import Fraction
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Pixels = TypeVar("Pixels", NDArray[np.uint8], Tensor)


def centre(images: Pixels, size: tuple[int, int]) -> Pixels:
    """The middle of each image, as a view: (..., H, W) → (..., *size), size at most (H, W)."""
    top, left = ((images.shape[axis] - side) // 2 for axis, side in zip((-2, -1), size, strict=True))
    return images[..., top : top + size[0], left : left + size[1]]


def pixel_hashes(images: NDArray[np.uint8]) -> NDArray[np.bytes_]:
    """SHA-256 of each image's pixels: bytes (N,)."""
    # Image by image: neither a view nor a file that is mapped into memory is copied whole.
    return np.array([hashlib.sha256(np.ascontiguousarray(image).data).digest() for image in images], dtype="S32")


def _salted_order(hashes: NDArray[np.bytes_], salt: str) -> NDArray[np.int64]:
    """A fixed random order of images that depends on their pixels and `salt` alone, not on file order or task order."""
    prefix = salt.encode()
    # numpy's S32 drops trailing zero bytes; they are padded back, so that equal pixels always give equal keys.
    keys = np.array([hashlib.sha256(prefix + bytes(h).ljust(32, b"\0")).digest() for h in hashes], dtype="S32")
    return np.argsort(keys, kind="stable")


def take_stratified(
    labels: NDArray[np.int64], hashes: NDArray[np.bytes_], fraction: Fraction, salt: str
) -> NDArray[np.int64]:
    """Sorted indices of round(fraction · n), at least one, images of each class, chosen by salted pixel hash."""
    taken = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = max(1, round(fraction * len(members)))
        taken.append(members[_salted_order(hashes[members], salt)[:count]])
    return np.sort(np.concatenate(taken))


def canonical_order(
    images: NDArray[np.uint8], labels: NDArray[np.int64], hashes: NDArray[np.bytes_] | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.bytes_]]:
    """Images and labels sorted by (label, SHA-256 of the pixels), with the hashes in that order.

    hashes: of the images, if they are known already.
    """
    hashes = pixel_hashes(images) if hashes is None else hashes
    order = np.lexsort((hashes, labels))
    return images[order], labels[order], hashes[order]


def fingerprint_of_part(
    name: str, classes: Sequence[str], labels: NDArray[np.int64], hashes: NDArray[np.bytes_]
) -> str:
    """SHA-256 over the name of a part, its classes, and its images' labels and hashes in their order."""
    digest = hashlib.sha256("\0".join([name, *classes]).encode())
    digest.update(labels.astype("<i8").tobytes())
    digest.update(hashes.tobytes())
    return digest.hexdigest()
