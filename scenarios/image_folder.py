"""Any images on disk as a stream of tasks: one folder per task, laid out as `{train,test}/<class>/<image>`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

from scenarios.base import Progress, RawTask, Scenario, ScenarioSettings
from scenarios.parts.images.settings import FolderSettings, found_folders, without
from scenarios.parts.images.source import read_sources
from scenarios.parts.images.tree import ImageTree


class ImageFolder(Scenario):
    """One task per folder of `folders`, named by the folder; classes in alphabetical order; images uint8 (N, 3, S, S).

    The shapes of the tree that are read: `scenarios/parts/images/tree.py`. Images are read as RGB (alpha is dropped and EXIF
    rotation not applied, as torchvision does), the shorter side is resized to `image_size` and the centre is cut out.
    """

    version = 1
    Settings: ClassVar[type[ScenarioSettings]] = FolderSettings
    settings: FolderSettings

    @classmethod
    def identity_settings(cls, settings: ScenarioSettings) -> dict[str, Any]:
        return without(super().identity_settings(settings), "folders")

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
        """Raises DataError if a folder is missing, has fewer than two classes, or others in test than in train."""
        return [(name, tree.classes) for name, tree in self._trees.items()]

    def raw_tasks(self, names: Sequence[str], progress: Progress | None = None) -> list[RawTask]:
        return read_sources([self._trees[name] for name in names], self.settings.image_size, progress)

    @cached_property
    def _trees(self) -> dict[str, ImageTree]:
        """The tree of each task, in the order of the settings."""
        folders = found_folders(self.settings.folders, self.source)
        return {name: ImageTree(name, folder) for name, folder in folders.items()}
