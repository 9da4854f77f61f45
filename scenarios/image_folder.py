"""Any images on disk as a stream of tasks: one folder per task, laid out as `{train,test}/<class>/<image>`."""

from __future__ import annotations

from functools import cached_property
from typing import Any, ClassVar

from scenarios.base import ScenarioSettings
from scenarios.parts.images.scenario import FolderScenario
from scenarios.parts.images.settings import FolderSettings, found_folders, without
from scenarios.parts.images.tree import ImageTree


class ImageFolder(FolderScenario):
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

    @cached_property
    def sources(self) -> dict[str, ImageTree]:
        """The tree of each task, in the order of the settings."""
        folders = found_folders(self.settings.folders, self.source)
        return {name: ImageTree(name, folder) for name, folder in folders.items()}
