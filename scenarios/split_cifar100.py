"""Split CIFAR-100: 10 tasks of 10 classes with 5,000 train and 1,000 test images each, or other tasks of equal size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from scenarios.base import Progress, RawTask, ScenarioSettings
from scenarios.parts.cifar100.classes import FINE_NAMES, MEAN, STD, SUPERCLASS_OF
from scenarios.parts.cifar100.reader import COMPLETE, IMAGE_SHAPE
from scenarios.parts.cifar100.superclasses import read_superclasses
from scenarios.parts.labels import Counts
from scenarios.parts.splits import SplitScenario, SplitSettings


class SplitCifar100Settings(SplitSettings):
    """As of every split, with ten classes a task if nobody says otherwise."""

    classes_per_task: int = Field(10, ge=2, description="classes of each task; must divide 100")


class SplitCifar100(SplitScenario):
    """CIFAR-100 (Krizhevsky 2009), by default its classes in alphabetical order, ten a task; images uint8 (N, 3, 32, 32).

    Read from every layout that `cifar100_superclasses` reads, and compared with the same published images.
    """

    version = 1
    Settings: ClassVar[type[ScenarioSettings]] = SplitCifar100Settings
    image_shape = IMAGE_SHAPE
    mean = MEAN
    std = STD
    classes = FINE_NAMES
    data_name = "cifar100"

    counts: ClassVar[Counts] = COMPLETE
    """Images per class of a complete copy; another value reads a data set of the same classes and another size."""

    def parts(self, classes: Sequence[str], progress: Progress | None = None) -> list[RawTask]:
        return read_superclasses(sorted({SUPERCLASS_OF[name] for name in classes}), self.source, self.counts, progress)
