"""A task made of what was read: canonical order, the fraction that is used, the validation split and fingerprints."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray

from scenarios.canonical import centre, fingerprint_of_part, take_stratified
from scenarios.duplicates import HashedPart
from scenarios.placement import gathered
from scenarios.tasks import DataError, ImageSet, RawTask, Stream, Task, one_line

SPLIT_SEED = 0
"""Of the validation split, the same for all methods and run seeds."""
VALIDATION_FRACTION = Fraction(1, 5)
"""The share of the training data that is the validation split."""


def build_task(
    task_id: int,
    raw: RawTask,
    hashed: tuple[HashedPart, HashedPart],
    duplicates: Sequence[str],
    stream: Stream,
    train_fraction: Fraction,
    device: torch.device | str,
    train_device: torch.device | str,
) -> Task:
    """The task with its parts on `device`. Training images stay as large as they were read; the others are of the test's size.

    task_id: from 0, in the order in which tasks are learned.
    hashed: the parts of `raw` as hashes.
    duplicates: lines on equal images.
    stream: that the task is of: under protocol `class` labels count on from those of the tasks before. Fingerprints do not
        depend on it.
    train_fraction: the share of each class's training images that is used, in (0, 1].
    train_device: of the training images themselves, which may be too many for `device`.

    Raises DataError if a class has too few training images for both training and validation.
    """
    train, test = hashed
    order, test_order = train.order(), test.order()
    labels, hashes = train.labels[order], train.hashes[order]
    learned, validation = _split(labels, hashes, train_fraction)
    if len(np.unique(labels[learned])) < len(raw.classes):
        raise DataError(
            f"task {raw.name}: too few training images to keep one of each class beside the validation split"
        )
    first = stream.offsets[task_id]
    size = (raw.test_images.shape[-2], raw.test_images.shape[-1])
    everything = np.arange(len(test_order))

    def image_set(
        images: NDArray[np.uint8],
        part: HashedPart,
        order: NDArray[np.int64],
        index: NDArray[np.int64],
        images_device: torch.device | str = device,
    ) -> ImageSet:
        return ImageSet(
            gathered(images, order[index], images_device),
            torch.from_numpy(part.labels[order[index]].astype(np.int64) + first).to(device),
            torch.from_numpy(index.astype(np.int64)).to(device),
        )

    parts = [
        fingerprint_of_part(f"{part} {raw.name}", raw.classes, labels[index], hashes[index])
        for part, labels, hashes, index in (
            ("train", labels, train.of_everything[order], learned),
            ("validation", labels, hashes, validation),
            ("test", test.labels[test_order], test.hashes[test_order], everything),
        )
    ]
    return Task(
        id=task_id,
        name=raw.name,
        classes=raw.classes,
        train=image_set(raw.train_images, train, order, learned, train_device),
        validation=image_set(centre(raw.train_images, size), train, order, validation),
        test=image_set(raw.test_images, test, test_order, everything),
        fingerprint=hashlib.sha256("\n".join(parts).encode()).hexdigest(),
        test_fingerprint=parts[-1],
        warnings=tuple(map(one_line, (*raw.warnings, *duplicates))),
        first=first,
        seen=stream.seen,
    )


def _split(
    labels: NDArray[np.int64], hashes: NDArray[np.bytes_], fraction: Fraction
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The images to learn from and those to validate on, of a share of each class, as ascending indices.

    labels, hashes: of all training images, in canonical order.
    """
    used = take_stratified(labels, hashes, fraction, "train_fraction")
    held_out = take_stratified(labels[used], hashes[used], VALIDATION_FRACTION, f"validation {SPLIT_SEED}")
    return np.delete(used, held_out), used[held_out]
