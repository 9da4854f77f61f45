"""CIFAR-100 as 20 tasks: each superclass is a task of 5 classes with 2,500 train and 500 test images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from scenarios.base import Progress, RawTask, Scenario
from scenarios.parts.cifar100.classes import MEAN, STD, SUPERCLASSES
from scenarios.parts.cifar100.reader import COMPLETE, IMAGE_SHAPE
from scenarios.parts.cifar100.superclasses import read_superclasses
from scenarios.parts.labels import Counts


class Cifar100Superclasses(Scenario):
    """20 superclasses in alphabetical order, classes in alphabetical order within each; images uint8 (N, 3, 32, 32).

    Read from the first layout that is found (`scenarios/parts/cifar100/superclasses.py`). Each gives the same images, split and
    fingerprint; other images than the published ones are another data set, and a warning says so.
    """

    version = 1
    image_shape = IMAGE_SHAPE
    mean = MEAN
    std = STD

    counts: ClassVar[Counts] = COMPLETE
    """Images per class of a complete copy; another value reads a data set of the same classes and another size."""

    def task_classes(self) -> list[tuple[str, tuple[str, ...]]]:
        return list(SUPERCLASSES.items())

    def raw_tasks(self, names: Sequence[str], progress: Progress | None = None) -> list[RawTask]:
        return read_superclasses(names, self.source, self.counts, progress)
