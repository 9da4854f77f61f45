"""What a scenario is: a stream of classification tasks whose images live on one device as uint8.

A scenario file only says where the images come from (`Scenario.raw_tasks`). Everything that decides whether two readers
of the same data agree is done once, here: canonical order, fraction of the training data, validation split,
fingerprints.
"""

from __future__ import annotations

import hashlib
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

SPLIT_SEED = 0
VALIDATION_FRACTION = Fraction(1, 5)

Progress = Callable[[str, int, int], None]
"""Called as progress(what is being done, done so far, total) while images are decoded."""


class DataError(Exception):
    """A data set is missing, truncated or wrong; the message is one line that says where and what would be right."""


@dataclass(frozen=True, slots=True)
class ImageSet:
    """Labelled images of one task.

    images: uint8 (N, C, H, W); labels: int64 (N,) in 0..classes-1; samples: int64 (N,), the position of each image in
    the canonical order of the part (train or test) it comes from. All on one device, sorted by (label, SHA-256 of the
    pixels).
    """

    images: Tensor
    labels: Tensor
    samples: Tensor

    def __len__(self) -> int:
        return int(self.images.shape[0])

    def to(self, device: torch.device | str) -> ImageSet:
        return ImageSet(self.images.to(device), self.labels.to(device), self.samples.to(device))

    def select(self, indices: Tensor) -> ImageSet:
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
    """What a method is given to learn from: a task without its test images."""

    id: int
    name: str
    classes: tuple[str, ...]
    train: ImageSet
    validation: ImageSet


@dataclass(frozen=True, slots=True)
class Task:
    """What the harness knows of a task. `fingerprint` is the SHA-256 over names, images and labels of all three parts;
    `test_fingerprint` over the test part alone (it names an evaluation, and seeds its starting points)."""

    id: int
    name: str
    classes: tuple[str, ...]
    train: ImageSet
    validation: ImageSet
    test: ImageSet
    fingerprint: str
    test_fingerprint: str

    @property
    def chance(self) -> float:
        return 1 / len(self.classes)

    def to_learn(self) -> LearnTask:
        return LearnTask(self.id, self.name, self.classes, self.train, self.validation)


@dataclass(frozen=True, slots=True)
class Stream:
    """What a method may know before the first task: names and sizes, never images.

    mean, std: per channel in [0, 1], fixed constants of the scenario (measuring them would look at later tasks).
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
    """One task as read from disk, in any order: uint8 images (N, C, H, W), int64 labels (N,) that index `classes`."""

    name: str
    classes: tuple[str, ...]
    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]


class ScenarioSettings(BaseModel):
    """Settings that every scenario has. `order`: `None` for the scenario's own order, or a permutation seed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tasks: int | None = Field(None, ge=1, description="how many tasks of the stream, from its start; all if not given")
    skip: int = Field(0, ge=0, description="tasks of the stream that are left out, from its start")
    order: int | None = Field(
        None, ge=0, description="seed of a random task order; the scenario's own order if not given"
    )
    train_fraction: float = Field(1.0, gt=0, le=1, description="share of each class's training images that is used")


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """Where a scenario may look for images: not part of what is measured, so not part of its settings."""

    data_root: Path | None = None
    download: bool = False


class Scenario(ABC):
    """A stream of tasks. A subclass sets `version`, `mean`, `std`, `image_shape` and yields its tasks from disk."""

    version: ClassVar[int]
    Settings: ClassVar[type[ScenarioSettings]] = ScenarioSettings

    @classmethod
    def identity_settings(cls, settings: ScenarioSettings) -> dict[str, Any]:
        """The settings as JSON that are part of a run's identity: what is learned, not where it lies."""
        # `skip` came later: runs that were made before it was there keep their identity.
        return settings.model_dump(mode="json", exclude=None if settings.skip else {"skip"})

    def __init__(self, settings: ScenarioSettings, source: SourceOptions | None = None) -> None:
        self.settings = settings
        self.source = source or SourceOptions()

    @property
    @abstractmethod
    def image_shape(self) -> tuple[int, int, int]: ...

    @property
    @abstractmethod
    def mean(self) -> tuple[float, ...]: ...

    @property
    @abstractmethod
    def std(self) -> tuple[float, ...]: ...

    @abstractmethod
    def task_classes(self) -> list[tuple[str, tuple[str, ...]]]:
        """(task name, class names in alphabetical order) of every task in the scenario's own order; needs no images."""

    @abstractmethod
    def raw_tasks(self, names: Sequence[str], progress: Progress | None = None) -> list[RawTask]:
        """Read the named tasks. Raises DataError where the data is missing, truncated or wrong."""

    def chosen(self) -> list[tuple[str, tuple[str, ...]]]:
        """Names and classes of the tasks that the settings choose, in the order in which they are learned."""
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
        chosen = self.chosen()
        return Stream(
            names=tuple(name for name, _ in chosen),
            class_counts=tuple(len(classes) for _, classes in chosen),
            image_shape=self.image_shape,
            mean=self.mean,
            std=self.std,
        )

    def load(self, device: torch.device | str = "cpu", progress: Progress | None = None) -> list[Task]:
        """The chosen tasks on `device`, in order, each with its validation split and fingerprints."""
        raw = self.raw_tasks([name for name, _ in self.chosen()], progress)
        return [_build_task(i, task, Fraction(str(self.settings.train_fraction)), device) for i, task in enumerate(raw)]


def fingerprint_of_tasks(tasks: Sequence[Task]) -> str:
    """SHA-256 over the fingerprints of a stream's tasks in order: where it agrees, data and split agree."""
    return fingerprint_of_stream(task.fingerprint for task in tasks)


def fingerprint_of_stream(fingerprints: Iterable[str]) -> str:
    """The same of the fingerprints alone, one of each task in order."""
    return hashlib.sha256("\n".join(fingerprints).encode()).hexdigest()


def _pixel_hashes(images: NDArray[np.uint8]) -> NDArray[np.bytes_]:
    """SHA-256 of each image's pixels: bytes (N,)."""
    flat = np.ascontiguousarray(images).reshape(len(images), -1)
    return np.array([hashlib.sha256(row.data).digest() for row in flat], dtype="S32")


def _salted_order(hashes: NDArray[np.bytes_], salt: str) -> NDArray[np.int64]:
    """A fixed random order of images that depends on their pixels and `salt` alone, not on file order or task order."""
    prefix = salt.encode()
    # numpy's S32 drops trailing zero bytes; pad them back so that equal pixels always give equal keys.
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
    images: NDArray[np.uint8], labels: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.bytes_]]:
    """Images and labels sorted by (label, SHA-256 of the pixels), with the hashes in that order."""
    hashes = _pixel_hashes(images)
    order = np.lexsort((hashes, labels))
    return images[order], labels[order], hashes[order]


def _part_fingerprint(name: str, classes: Sequence[str], labels: NDArray[np.int64], hashes: NDArray[np.bytes_]) -> str:
    digest = hashlib.sha256("\0".join([name, *classes]).encode())
    digest.update(labels.astype("<i8").tobytes())
    digest.update(hashes.tobytes())
    return digest.hexdigest()


def _build_task(task_id: int, raw: RawTask, train_fraction: Fraction, device: torch.device | str) -> Task:
    train_images, train_labels, train_hashes = canonical_order(raw.train_images, raw.train_labels)
    test_images, test_labels, test_hashes = canonical_order(raw.test_images, raw.test_labels)
    used = take_stratified(train_labels, train_hashes, train_fraction, "train_fraction")
    held_out = take_stratified(train_labels[used], train_hashes[used], VALIDATION_FRACTION, f"validation {SPLIT_SEED}")
    validation, train = used[held_out], np.delete(used, held_out)
    if len(np.unique(train_labels[train])) < len(raw.classes):
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
            ("train", train_labels, train_hashes, train),
            ("validation", train_labels, train_hashes, validation),
            ("test", test_labels, test_hashes, np.arange(len(test_labels))),
        )
    ]
    return Task(
        id=task_id,
        name=raw.name,
        classes=raw.classes,
        train=image_set(train_images, train_labels, train),
        validation=image_set(train_images, train_labels, validation),
        test=image_set(test_images, test_labels, np.arange(len(test_labels))),
        fingerprint=hashlib.sha256("\n".join(parts).encode()).hexdigest(),
        test_fingerprint=parts[-1],
    )
