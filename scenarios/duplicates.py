"""Images that stand where they should not: under two classes, or to learn from and to test on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class HashedPart:
    """The images of one part of a task as their hashes.

    task: its name.
    classes: its class names.
    labels: int64 (N,), 0..classes-1.
    hashes: SHA-256 of each image's pixels as a network sees them untouched, the centre of a larger image: bytes (N,).
    names: of the images, for people (N); empty if they have none.
    whole: SHA-256 of all pixels of images that are larger, bytes (N,); None: no image is.
    """

    task: str
    classes: Sequence[str]
    labels: NDArray[np.int64]
    hashes: NDArray[np.bytes_]
    names: Sequence[str] = ()
    whole: NDArray[np.bytes_] | None = None

    @property
    def of_everything(self) -> NDArray[np.bytes_]:
        """SHA-256 of all pixels of each image: bytes (N,)."""
        return self.hashes if self.whole is None else self.whole

    def order(self) -> NDArray[np.int64]:
        """The canonical order: by label, hash, and where those are equal by what lies around the centre: int64 (N,)."""
        return np.lexsort((self.of_everything, self.hashes, self.labels))

    def named(self, index: int) -> str:
        """An image by its name, if it has one, and its class."""
        label = int(self.labels[index])
        name = self.classes[label] if 0 <= label < len(self.classes) else str(label)
        return f"{self.names[index]} ({name})" if len(self.names) else f"one of class {name}"


def said_of_duplicates(parts: Sequence[tuple[HashedPart, HashedPart]]) -> list[list[str]]:
    """Lines on equal images, of each task: how many there are, and one example.

    parts: (train, test) of each task.
    Equal images of one class in one part are not told: they are harmless, and common.
    """
    learned: dict[bytes, tuple[HashedPart, int]] = {}
    for train, _ in parts:
        for index, key in enumerate(train.hashes.tolist()):
            learned.setdefault(key, (train, index))
    return [
        [
            *_under_two_classes(train),
            *_under_two_classes(test),
            *_learned_and_tested(train, test),
            *_learned_elsewhere(train, test, learned),
        ]
        for train, test in parts
    ]


def _under_two_classes(part: HashedPart) -> list[str]:
    _, group = np.unique(part.hashes, return_inverse=True)
    order = np.lexsort((part.labels, group))
    same = (group[order][1:] == group[order][:-1]) & (part.labels[order][1:] != part.labels[order][:-1])
    if not same.any():
        return []
    first = int(np.flatnonzero(same)[0])
    count = len(np.unique(group[order][1:][same]))
    images = "1 image stands" if count == 1 else f"{count} images stand"
    one, other = (part.named(int(order[i])) for i in (first, first + 1))
    return [f"task {part.task}: {images} under two classes, such as {one} and {other}"]


def _learned_and_tested(train: HashedPart, test: HashedPart) -> list[str]:
    both = np.flatnonzero(np.isin(test.hashes, train.hashes))
    if not both.size:
        return []
    tested = int(both[0])
    learned = int(np.flatnonzero(train.hashes == test.hashes[tested])[0])
    return [_leak(test, both.size, "", test.named(tested), train.named(learned))]


def _learned_elsewhere(
    train: HashedPart, test: HashedPart, learned: Mapping[bytes, tuple[HashedPart, int]]
) -> list[str]:
    """As `_learned_and_tested`, of images that another task learns from."""
    own = set(train.hashes.tolist())
    both = [(i, learned[key]) for i, key in enumerate(test.hashes.tolist()) if key in learned and key not in own]
    if not both:
        return []
    tested, (other, index) = both[0]
    return [_leak(test, len(both), f" in task {other.task}", test.named(tested), other.named(index))]


def _leak(test: HashedPart, count: int, where: str, tested: str, learned: str) -> str:
    images = f"{count} of {len(test.labels)} test images {'is an image' if count == 1 else 'are images'} to learn from"
    return f"task {test.task}: {images}{where}, such as {tested} and {learned}"
