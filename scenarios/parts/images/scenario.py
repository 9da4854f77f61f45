"""Scenarios whose images lie in folders and are brought to one size: what they share, whatever the layout."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from scenarios.base import Progress, RawTask, Scenario, ScenarioSettings
from scenarios.parts.images.preparation import Preparation
from scenarios.parts.images.settings import SizedSettings
from scenarios.parts.images.source import ImageSource, read_sources


class FolderScenario(Scenario):
    """Images uint8 (N, 3, S, S), read as RGB: the shorter side is resized to `image_size` and the centre is cut out.

    A subclass whose training images are larger, or decoded otherwise, defines `preparation` too.

    A subclass defines `sources`.
    """

    Settings: ClassVar[type[ScenarioSettings]] = SizedSettings
    settings: SizedSettings

    @property
    @abstractmethod
    def sources(self) -> Mapping[str, ImageSource]:
        """The images of each task by its name, in the order of the tasks. Raises DataError, one line."""

    @property
    def preparation(self) -> Preparation:
        """The sizes of the images, and the way in which they are decoded."""
        return Preparation(self.settings.image_size, self.settings.image_size)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return (3, self.settings.image_size, self.settings.image_size)

    @property
    def mean(self) -> tuple[float, ...]:
        return self.settings.mean

    @property
    def std(self) -> tuple[float, ...]:
        return self.settings.std

    def task_classes(self) -> list[tuple[str, tuple[str, ...]]]:
        """Raises DataError if files are missing, a task has fewer than two classes, or test has others than train."""
        return [(name, source.classes) for name, source in self.sources.items()]

    def raw_tasks(self, names: Sequence[str], progress: Progress | None = None) -> list[RawTask]:
        sources = self.sources
        return read_sources([sources[name] for name in names], self.preparation, progress)
