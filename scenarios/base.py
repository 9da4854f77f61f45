"""The contract of a scenario: a stream of classification tasks whose images live on one device as uint8.

A scenario file reads images (`Scenario.raw_tasks`). Canonical order, fraction of the training data, validation split and
fingerprints are made for all of them (`splitting.py`), so that two readers of the same data agree. A plug-in imports from here.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from scenarios.canonical import canonical_order, take_stratified
from scenarios.duplicates import said_of_duplicates
from scenarios.placement import device_for
from scenarios.splitting import SPLIT_SEED, VALIDATION_FRACTION, build_task
from scenarios.tasks import (
    DataError,
    ImageSet,
    LearnTask,
    RawTask,
    Stream,
    StreamProtocol,
    Task,
    fingerprint_of_stream,
    fingerprint_of_tasks,
)

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
    "StreamProtocol",
    "Task",
    "canonical_order",
    "fingerprint_of_stream",
    "fingerprint_of_tasks",
    "take_stratified",
]

Progress = Callable[[str, int, int], None]
"""Called as progress(doing, done so far, total) while images are decoded; doing: what is done, as words."""


class ScenarioSettings(BaseModel):
    """Settings that every scenario has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tasks: int | None = Field(None, ge=1, description="how many tasks of the stream, from its start; all if not given")
    skip: int = Field(0, ge=0, description="tasks of the stream that are left out, from its start")
    order: int | None = Field(
        None, ge=0, description="seed of a random task order; the scenario's own order if not given"
    )
    protocol: StreamProtocol = Field(
        "task",
        description="task: an image's task is told at test; class: it is not, and one head answers among all classes seen",
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
        # These came later: runs that were made before keep their identity.
        later = {name for name, default in (("skip", 0), ("protocol", "task")) if getattr(settings, name) == default}
        return settings.model_dump(mode="json", exclude=later)

    def __init__(self, settings: ScenarioSettings, source: SourceOptions | None = None) -> None:
        self.settings = settings
        self.source = source or SourceOptions()

    @property
    @abstractmethod
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image that a network sees: of validation and test images. Training images may be larger."""

    @property
    def training_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of training images: that of all images, or larger for augmentation to cut from."""
        return self.image_shape

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
            protocol=self.settings.protocol,
        )

    def load(self, device: torch.device | str = "cpu", progress: Progress | None = None) -> list[Task]:
        """The chosen tasks on `device`, in order, each with its validation split, fingerprints and warnings.

        Training images stay on the host if all images would take more than half of the device's free memory.
        """
        # A process in which a method learns listens: the method is given its images, and loads none.
        sys.audit("scenarios.load", type(self).__name__)
        raw = self.raw_tasks([name for name, _ in self.chosen()], progress)
        fraction = Fraction(str(self.settings.train_fraction))
        hashed = [task.hashed() for task in raw]
        duplicates = said_of_duplicates(hashed)
        train_device = device_for(sum(task.train_images.nbytes + task.test_images.nbytes for task in raw), device)
        stream = self.stream()
        return [
            build_task(
                task_id,
                task,
                hashed[task_id],
                () if task.published else duplicates[task_id],
                stream,
                fraction,
                device,
                train_device,
            )
            for task_id, task in enumerate(raw)
        ]
