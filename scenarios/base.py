"""The contract of a scenario: a stream of classification tasks whose images live on one device as uint8.

A scenario file reads images (`Scenario.raw_tasks`). Canonical order, fraction of the training data, validation split and
fingerprints are made here, so that two readers of the same data agree. A plug-in imports from here.
"""

from __future__ import annotations

import hashlib
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from scenarios.duplicates import HashedPart, said_of_duplicates

__all__ = [
    "SPLIT_SEED",
    "VALIDATION_FRACTION",
    "DataError",
    "ImageSet",
    "LearnTask",
    "Progress",
    "RawTask",
    "Scenario",
    "ScenarioSettings",
    "SourceOptions",
    "Stream",
    "Task",
    "canonical_order",
    "fingerprint_of_stream",
    "fingerprint_of_tasks",
    "take_stratified",
]

SPLIT_SEED = 0
"""Of the validation split, the same for all methods and run seeds."""
VALIDATION_FRACTION = Fraction(1, 5)
"""The share of the training data that is the validation split."""

Progress = Callable[[str, int, int], None]
"""Called as progress(doing, done so far, total) while images are decoded; doing: what is done, as words."""


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

    images: uint8 (N, C, H, W).
    labels: int64 (N,), 0..classes-1.
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
        return ImageSet(self.images[indices], self.labels[indices], self.samples[indices])

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
    classes: names, in alphabetical order, which labels index.
    train, validation: its images.
    """

    id: int
    name: str
    classes: tuple[str, ...]
    train: ImageSet
    validation: ImageSet


@dataclass(frozen=True, slots=True)
class Task:
    """A task as the harness knows it.

    id, name, classes, train, validation: as of `LearnTask`.
    test: its test images.
    fingerprint: SHA-256 over names, images and labels of all three parts.
    test_fingerprint: the same over the test part alone; it names evaluations, and seeds their starting points.
    warnings: lines on what is odd about its images; no fingerprint depends on them.
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

    @property
    def chance(self) -> float:
        """The accuracy of guessing, 0 to 1."""
        return 1 / len(self.classes)

    def to_learn(self) -> LearnTask:
        """The task as a method is given it."""
        return LearnTask(self.id, self.name, self.classes, self.train, self.validation)


@dataclass(frozen=True, slots=True)
class Stream:
    """The stream as a method may know it before the first task: names and sizes, never images.

    names: of the tasks, in the order in which they are learned.
    class_counts: of the tasks.
    image_shape: (C, H, W).
    mean, std: per channel, in [0, 1]; constants of the scenario, because measuring them would look at later tasks.
    """

    names: tuple[str, ...]
    class_counts: tuple[int, ...]
    image_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, slots=True)
class RawTask:
    """One task as it was read, its images in any order.

    name: of the task.
    classes: names, in alphabetical order.
    train_images, test_images: uint8 (N, C, H, W).
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

    def fingerprint(self) -> str:
        """SHA-256 over names, images and labels of both parts, whatever the order in which they were read."""
        return hashlib.sha256("\n".join(_fingerprint_of_part(part) for part in _hashed(self)).encode()).hexdigest()


class ScenarioSettings(BaseModel):
    """Settings that every scenario has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tasks: int | None = Field(None, ge=1, description="how many tasks of the stream, from its start; all if not given")
    skip: int = Field(0, ge=0, description="tasks of the stream that are left out, from its start")
    order: int | None = Field(
        None, ge=0, description="seed of a random task order; the scenario's own order if not given"
    )
    train_fraction: float = Field(1.0, gt=0, le=1, description="share of each class's training images that is used")


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """The places that a scenario reads its images from. They name no run, so they are no part of its settings.

    data_root: the folder that holds the data set; None: the default places.
    download: True if a missing data set may be fetched.
    """

    data_root: Path | None = None
    download: bool = False


class Scenario(ABC):
    """A stream of tasks.

    version: raised on purpose whenever the same settings would give other tasks or images.
    Settings: its settings, a `ScenarioSettings`.

    A subclass sets `version`, `image_shape`, `mean` and `std`, as class attributes or properties, and defines `task_classes` and
    `raw_tasks`.
    """

    version: ClassVar[int]
    Settings: ClassVar[type[ScenarioSettings]] = ScenarioSettings

    @classmethod
    def identity_settings(cls, settings: ScenarioSettings) -> dict[str, Any]:
        """The settings that are part of a run's identity, as JSON: those that say what is learned, not where it lies."""
        # `skip` came later: runs that were made before keep their identity.
        return settings.model_dump(mode="json", exclude=None if settings.skip else {"skip"})

    def __init__(self, settings: ScenarioSettings, source: SourceOptions | None = None) -> None:
        self.settings = settings
        self.source = source or SourceOptions()

    @property
    @abstractmethod
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""

    @property
    @abstractmethod
    def mean(self) -> tuple[float, ...]:
        """The mean of each channel, in [0, 1]; a constant."""

    @property
    @abstractmethod
    def std(self) -> tuple[float, ...]:
        """The standard deviation of each channel, in units of [0, 1]; a constant."""

    @abstractmethod
    def task_classes(self) -> list[tuple[str, tuple[str, ...]]]:
        """(task name, class names in alphabetical order) of every task in the scenario's own order; needs no images."""

    @abstractmethod
    def raw_tasks(self, names: Sequence[str], progress: Progress | None = None) -> list[RawTask]:
        """Read the named tasks, in this order. Raises DataError if the data is missing, truncated or wrong."""

    def chosen(self) -> list[tuple[str, tuple[str, ...]]]:
        """Names and classes of the tasks that the settings choose, in the order in which they are learned.

        Raises DataError if the settings ask for more tasks than there are.
        """
        tasks = self.task_classes()
        if self.settings.order is not None:
            tasks = [tasks[i] for i in np.random.default_rng(self.settings.order).permutation(len(tasks))]
        skip = self.settings.skip
        wanted = self.settings.tasks or len(tasks) - skip
        if wanted < 1 or skip + wanted > len(tasks):
            after = f" after skip = {skip}" if skip else ""
            raise DataError(f"scenario.tasks = {max(wanted, 1)}{after}: this scenario has {len(tasks)} tasks")
        return tasks[skip : skip + wanted]

    def stream(self) -> Stream:
        """The stream of the chosen tasks; needs no images."""
        chosen = self.chosen()
        return Stream(
            names=tuple(name for name, _ in chosen),
            class_counts=tuple(len(classes) for _, classes in chosen),
            image_shape=self.image_shape,
            mean=self.mean,
            std=self.std,
        )

    def load(self, device: torch.device | str = "cpu", progress: Progress | None = None) -> list[Task]:
        """The chosen tasks on `device`, in order, each with its validation split, fingerprints and warnings."""
        # A process in which a method learns listens: the method is given its images, and loads none.
        sys.audit("scenarios.load", type(self).__name__)
        raw = self.raw_tasks([name for name, _ in self.chosen()], progress)
        fraction = Fraction(str(self.settings.train_fraction))
        hashed = [_hashed(task) for task in raw]
        duplicates = said_of_duplicates(hashed)
        return [
            _build_task(i, task, hashed[i], () if task.published else duplicates[i], fraction, device)
            for i, task in enumerate(raw)
        ]


def fingerprint_of_tasks(tasks: Sequence[Task]) -> str:
    """SHA-256 over the fingerprints of a stream's tasks in order: if it agrees, data and split agree."""
    return fingerprint_of_stream(task.fingerprint for task in tasks)


def fingerprint_of_stream(fingerprints: Iterable[str]) -> str:
    """As `fingerprint_of_tasks`, from the fingerprints alone, one of each task in order."""
    return hashlib.sha256("\n".join(fingerprints).encode()).hexdigest()


def _pixel_hashes(images: NDArray[np.uint8]) -> NDArray[np.bytes_]:
    """SHA-256 of each image's pixels: bytes (N,)."""
    flat = np.ascontiguousarray(images).reshape(len(images), -1)
    return np.array([hashlib.sha256(row.data).digest() for row in flat], dtype="S32")


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
    hashes = _pixel_hashes(images) if hashes is None else hashes
    order = np.lexsort((hashes, labels))
    return images[order], labels[order], hashes[order]


def _hashed(raw: RawTask) -> tuple[HashedPart, HashedPart]:
    """The train and the test part as hashes, in the order in which they were read."""
    train, test = _pixel_hashes(raw.train_images), _pixel_hashes(raw.test_images)
    return (
        HashedPart(raw.name, raw.classes, raw.train_labels, train, raw.train_names),
        HashedPart(raw.name, raw.classes, raw.test_labels, test, raw.test_names),
    )


def _part_fingerprint(name: str, classes: Sequence[str], labels: NDArray[np.int64], hashes: NDArray[np.bytes_]) -> str:
    digest = hashlib.sha256("\0".join([name, *classes]).encode())
    digest.update(labels.astype("<i8").tobytes())
    digest.update(hashes.tobytes())
    return digest.hexdigest()


def _fingerprint_of_part(part: HashedPart) -> str:
    order = np.lexsort((part.hashes, part.labels))
    return _part_fingerprint(part.task, part.classes, part.labels[order], part.hashes[order])


def _build_task(
    task_id: int,
    raw: RawTask,
    hashed: tuple[HashedPart, HashedPart],
    duplicates: Sequence[str],
    train_fraction: Fraction,
    device: torch.device | str,
) -> Task:
    train, test = hashed
    train_images, train_labels, train_hashes = canonical_order(raw.train_images, raw.train_labels, train.hashes)
    test_images, test_labels, test_hashes = canonical_order(raw.test_images, raw.test_labels, test.hashes)
    used = take_stratified(train_labels, train_hashes, train_fraction, "train_fraction")
    held_out = take_stratified(train_labels[used], train_hashes[used], VALIDATION_FRACTION, f"validation {SPLIT_SEED}")
    validation, learned = used[held_out], np.delete(used, held_out)
    if len(np.unique(train_labels[learned])) < len(raw.classes):
        raise DataError(
            f"task {raw.name}: too few training images to keep one of each class beside the validation split"
        )

    def image_set(images: NDArray[np.uint8], labels: NDArray[np.int64], index: NDArray[np.int64]) -> ImageSet:
        return ImageSet(
            torch.from_numpy(np.ascontiguousarray(images[index])).to(device),
            torch.from_numpy(labels[index].astype(np.int64)).to(device),
            torch.from_numpy(index.astype(np.int64)).to(device),
        )

    parts = [
        _part_fingerprint(f"{part} {raw.name}", raw.classes, labels[index], hashes[index])
        for part, labels, hashes, index in (
            ("train", train_labels, train_hashes, learned),
            ("validation", train_labels, train_hashes, validation),
            ("test", test_labels, test_hashes, np.arange(len(test_labels))),
        )
    ]
    return Task(
        id=task_id,
        name=raw.name,
        classes=raw.classes,
        train=image_set(train_images, train_labels, learned),
        validation=image_set(train_images, train_labels, validation),
        test=image_set(test_images, test_labels, np.arange(len(test_labels))),
        fingerprint=hashlib.sha256("\n".join(parts).encode()).hexdigest(),
        test_fingerprint=parts[-1],
        warnings=tuple(map(one_line, (*raw.warnings, *duplicates))),
    )
