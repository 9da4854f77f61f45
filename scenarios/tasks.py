"""The tasks of a stream: as they are read, as the harness knows them, and as a method is given them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scenarios.canonical import centre, fingerprint_of_part, pixel_hashes
from scenarios.duplicates import HashedPart

StreamProtocol = Literal["task", "class"]
"""The question at test. `task`: the image's task is told, and a head answers among its classes. `class`: it is not, and one head
answers among all classes seen so far (van de Ven and Tolias 2019, table 1: task- and class-incremental learning)."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def one_line(text: str) -> str:
    """A message with its control characters spelled out: names of files and classes may hold line breaks and worse."""
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


class DataError(Exception):
    """A data set is missing, truncated or wrong; the message is one line that says where, and what would be right."""

    def __init__(self, message: str = "") -> None:
        super().__init__(one_line(message))


@dataclass(frozen=True, slots=True)
class ImageSet:
    """Labelled images of one task, on one device, sorted by (label, SHA-256 of the pixels).

    images: uint8 (N, C, H, W); those to learn from are on the host if they are too many for the device.
    labels: int64 (N,), 0..classes-1; under protocol `class`, from the number of classes of the tasks before on.
    samples: int64 (N,), the position of each image in the canonical order of the part (train or test) that it comes from.
    """

    images: Tensor
    labels: Tensor
    samples: Tensor

    def __len__(self) -> int:
        return int(self.images.shape[0])

    def to(self, device: torch.device | str) -> ImageSet:
        """The same images on a device."""
        return ImageSet(self.images.to(device), self.labels.to(device), self.samples.to(device))

    def select(self, indices: Tensor) -> ImageSet:
        """Some of the images: indices int64 (M,) or bool (N,)."""
        # Training images may be on the host while their labels are on the device, which indices are on.
        return ImageSet(self.images[indices.to(self.images.device)], self.labels[indices], self.samples[indices])

    def balanced_order(self) -> Tensor:
        """Indices that take the classes in turn (first of each class, second of each class, ...): int64 (N,).

        The first n of them are the subset on which an attack with n samples runs, so a larger n only adds samples.
        """
        labels = self.labels.cpu().numpy()
        rank = np.zeros(len(labels), dtype=np.int64)
        for label in np.unique(labels):
            members = np.flatnonzero(labels == label)
            rank[members] = np.arange(len(members))
        return torch.from_numpy(np.lexsort((labels, rank))).to(self.labels.device)


@dataclass(frozen=True, slots=True)
class LearnTask:
    """A task as a method is given it: without its test images.

    id: from 0, in the order in which tasks are learned.
    name: of the task.
    classes: names, in alphabetical order, which labels index; under protocol `class`, after the classes of the tasks before.
    train: its images to learn from, (N, C, H, W) of the stream's `image_shape` or larger: `augment` cuts them to that size.
    validation: its images to choose by, of the stream's `image_shape`.
    """

    id: int
    name: str
    classes: tuple[str, ...]
    train: ImageSet
    validation: ImageSet

    @property
    def unaugmented(self) -> ImageSet:
        """The images to learn from as a network sees them if nothing augments them: the centre of larger ones, as views."""
        size = (self.validation.images.shape[-2], self.validation.images.shape[-1])
        return ImageSet(centre(self.train.images, size), self.train.labels, self.train.samples)


@dataclass(frozen=True, slots=True)
class Task:
    """A task as the harness knows it.

    id, name, classes, train, validation: as of `LearnTask`.
    test: its test images, of the size of the validation images.
    fingerprint: SHA-256 over names, images and labels of all three parts.
    test_fingerprint: the same over the test part alone; it names evaluations, and seeds their starting points.
    warnings: lines on what is odd about its images; no fingerprint depends on them.
    first: the label of its first class: 0, or under protocol `class` the number of classes of the tasks before.
    seen: the number of classes seen after each task of the stream; empty under protocol `task`.
    """

    id: int
    name: str
    classes: tuple[str, ...]
    train: ImageSet
    validation: ImageSet
    test: ImageSet
    fingerprint: str
    test_fingerprint: str
    warnings: tuple[str, ...] = ()
    first: int = 0
    seen: tuple[int, ...] = ()

    def answers(self, after_task: int) -> int:
        """The number of classes among which its images are answered after a task was learned: its own, or all seen."""
        return self.seen[after_task] if self.seen else len(self.classes)

    def chance(self, after_task: int) -> float:
        """The accuracy of guessing after a task was learned, 0 to 1."""
        return 1 / self.answers(after_task)

    def to_learn(self) -> LearnTask:
        """The task as a method is given it."""
        return LearnTask(self.id, self.name, self.classes, self.train, self.validation)


@dataclass(frozen=True, slots=True)
class Stream:
    """The stream as a method may know it before the first task: names and sizes, never images.

    names: of the tasks, in the order in which they are learned.
    class_counts: of the tasks.
    image_shape: (C, H, W) of what networks see: of validation and test images, and of training images after augmentation.
    mean, std: per channel, in [0, 1]; constants of the scenario, because measuring them would look at later tasks.
    protocol: the question that is asked at test.
    """

    names: tuple[str, ...]
    class_counts: tuple[int, ...]
    image_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    protocol: StreamProtocol = "task"

    def __len__(self) -> int:
        return len(self.names)

    @property
    def offsets(self) -> tuple[int, ...]:
        """The label of each task's first class: 0, or under protocol `class` the number of classes of the tasks before."""
        if self.protocol == "task":
            return (0,) * len(self)
        return tuple(accumulate(self.class_counts[:-1], initial=0))

    def asks(self, task: int) -> int | None:
        """The argument of `Method.classifier` that gives a task's classifier: the task, or None for all classes seen."""
        return task if self.protocol == "task" else None

    @property
    def answers(self) -> tuple[int, ...]:
        """The numbers of classes among which images are answered: by task, or after each task under protocol `class`."""
        return self.seen or self.class_counts

    @property
    def seen(self) -> tuple[int, ...]:
        """The number of classes seen after each task; empty under protocol `task`, where nobody answers among them."""
        return () if self.protocol == "task" else tuple(accumulate(self.class_counts))


@dataclass(frozen=True, slots=True)
class RawTask:
    """One task as it was read, its images in any order.

    name: of the task.
    classes: names, in alphabetical order.
    train_images: uint8 (N, C, H, W), as large as the test images, or larger for augmentation to cut from.
    test_images: uint8 (N, C, H, W) of the scenario's `image_shape`.
    train_labels, test_labels: int64 (N,), 0..classes-1.
    train_names, test_names: of the images, for people, without the folders of this machine (N); empty if they have none.
    warnings: lines that the reader has to say about the data, each naming its task.
    published: True if these are, pixel by pixel, the images of a published data set. Its duplicates are known, and not told.
    """

    name: str
    classes: tuple[str, ...]
    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]
    train_names: Sequence[str] = ()
    test_names: Sequence[str] = ()
    warnings: tuple[str, ...] = ()
    published: bool = False

    def hashed(self) -> tuple[HashedPart, HashedPart]:
        """The train and the test part as hashes, in the order in which they were read.

        Raises DataError if training images are smaller than test images.
        """
        (height, width), size = self.train_images.shape[-2:], (self.test_images.shape[-2], self.test_images.shape[-1])
        larger = (height, width) != size
        if height < size[0] or width < size[1]:
            raise DataError(
                f"task {self.name}: training images are {height}x{width}, test images {size[0]}x{size[1]}; "
                "training images must be as large, or larger for augmentation to cut from"
            )
        return (
            HashedPart(
                self.name,
                self.classes,
                self.train_labels,
                pixel_hashes(centre(self.train_images, size)),
                self.train_names,
                pixel_hashes(self.train_images) if larger else None,
            ),
            HashedPart(self.name, self.classes, self.test_labels, pixel_hashes(self.test_images), self.test_names),
        )

    def fingerprint(self) -> str:
        """SHA-256 over names, images and labels of both parts, whatever the order in which they were read."""
        return hashlib.sha256("\n".join(map(_fingerprint_in_order, self.hashed())).encode()).hexdigest()


def _fingerprint_in_order(part: HashedPart) -> str:
    order = part.order()
    return fingerprint_of_part(part.task, part.classes, part.labels[order], part.of_everything[order])


def fingerprint_of_tasks(tasks: Sequence[Task]) -> str:
    """SHA-256 over the fingerprints of a stream's tasks in order: if it agrees, data and split agree."""
    return fingerprint_of_stream(task.fingerprint for task in tasks)


def fingerprint_of_stream(fingerprints: Iterable[str]) -> str:
    """As `fingerprint_of_tasks`, from the fingerprints alone, one of each task in order."""
    return hashlib.sha256("\n".join(fingerprints).encode()).hexdigest()
