"""Any images on disk as a stream of tasks: one folder per task, laid out as `{train,test}/<class>/<image>`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, field_validator

from scenarios.base import DataError, Progress, RawTask, Scenario, ScenarioSettings
from scenarios.parts.data_location import describe_folder, search_roots, visible_entries
from scenarios.parts.decoded_cache import DecodedTask, load_or_decode, source_key
from scenarios.parts.decoding import decode_images, ticking

PARTS = ("train", "test")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp"})

Share = Annotated[float, Field(ge=0, le=1)]
PositiveShare = Annotated[float, Field(gt=0, le=1)]


class ImageFolderSettings(ScenarioSettings):
    """The folders that are the tasks, and the one size that their images are brought to."""

    folders: list[str] = Field(
        min_length=1, description="one folder per task, relative to the data root if not absolute"
    )
    image_size: int = Field(224, ge=1, le=4096, description="shorter side after resizing, and side of the centre crop")
    mean: tuple[Share, Share, Share] = Field((0.485, 0.456, 0.406), description="per channel; ImageNet's if not given")
    std: tuple[PositiveShare, PositiveShare, PositiveShare] = Field(
        (0.229, 0.224, 0.225), description="per channel; ImageNet's if not given"
    )

    @field_validator("folders")
    @classmethod
    def _check_names(cls, folders: list[str]) -> list[str]:
        names = [Path(folder).name for folder in folders]
        for name, folder in zip(names, folders, strict=True):
            if name in ("", ".."):
                raise ValueError(f"`{folder}` has no name that a task could take")
            if names.count(name) > 1:
                raise ValueError(f"two folders are named `{name}`; a task is named by its folder, so names must differ")
        return folders


class ImageFolder(Scenario):
    """One task per folder of `folders`, named by the folder; classes in alphabetical order; images uint8 (N, 3, S, S).

    The images of a class are the png, jpg, jpeg and webp files directly inside its folder. They are read as RGB (alpha is dropped
    and EXIF rotation not applied, as torchvision does), the shorter side is resized to `image_size` and the centre is cut out.
    """

    version = 1
    Settings: ClassVar[type[ScenarioSettings]] = ImageFolderSettings
    settings: ImageFolderSettings

    @classmethod
    def identity_settings(cls, settings: ScenarioSettings) -> dict[str, Any]:
        # Names and pixels are in the fingerprint, so another place of the folders makes no other run.
        return {key: value for key, value in super().identity_settings(settings).items() if key != "folders"}

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
        return [(name, _classes(folder)) for name, folder in self._folders().items()]

    def raw_tasks(self, names: Sequence[str], progress: Progress | None = None) -> list[RawTask]:
        folders = self._folders()
        classes = {name: _classes(folders[name]) for name in names}
        files = {name: {part: _files(folders[name] / part, classes[name]) for part in PARTS} for name in names}
        keys = {
            name: source_key(
                "image folder",
                folders[name],
                [file for part in PARTS for _, file in files[name][part]],
                {"image_size": self.settings.image_size},
            )
            for name in names
        }

        def decode(lacking: Sequence[str]) -> dict[str, DecodedTask]:
            total = sum(len(files[name][part]) for name in lacking for part in PARTS)
            tick = ticking(progress, "decoding images", total)

            def decode_part(name: str, part: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
                labels, paths = zip(*files[name][part], strict=True)
                to_array = partial(_resize_and_crop, size=self.settings.image_size)
                images = decode_images(paths, lambda i: str(paths[i]), to_array, self.image_shape, tick)
                return images, np.array(labels, dtype=np.int64)

            return {name: DecodedTask(*decode_part(name, "train"), *decode_part(name, "test")) for name in lacking}

        decoded = load_or_decode(keys, decode)
        return [decoded[name].to_raw(name, classes[name]) for name in names]

    def _folders(self) -> dict[str, Path]:
        """Task name to folder, in the order of the settings."""
        roots = search_roots(self.source)
        found = {}
        for folder in self.settings.folders:
            places = [root / folder for root in roots]  # an absolute folder stays itself
            there = next((place for place in places if place.is_dir()), None)
            if there is None:
                seen = "; ".join(dict.fromkeys(describe_folder(place) for place in places))
                raise DataError(
                    f"scenario.folders: {folder} not found ({seen}); name the folder above it with --data-root"
                )
            found[there.name] = there
        return found


def _classes(folder: Path) -> tuple[str, ...]:
    """The class names of a task's folder, alphabetical; train and test must agree."""
    names = {}
    for part in PARTS:
        if not (folder / part).is_dir():
            raise DataError(f"{describe_folder(folder)}; expected train and test, each with one folder per class")
        names[part] = {entry.name for entry in visible_entries(folder / part) if entry.is_dir()}
    if difference := sorted(names["train"] ^ names["test"]):
        part = "train" if difference[0] in names["train"] else "test"
        raise DataError(f"{folder}: train and test must have the same classes; `{difference[0]}` is in {part} only")
    if len(names["train"]) < 2:
        raise DataError(
            f"{folder}: has {len(names['train'])} classes, expected at least 2 folders in train and in test"
        )
    return tuple(sorted(names["train"]))


def _files(folder: Path, classes: tuple[str, ...]) -> list[tuple[int, Path]]:
    """(label, file) of each image of one part."""
    files: list[tuple[int, Path]] = []
    for label, name in enumerate(classes):
        images = [file for file in visible_entries(folder / name) if file.suffix.lower() in SUFFIXES]
        if not images:
            raise DataError(f"{describe_folder(folder / name)}; expected {', '.join(sorted(SUFFIXES))} images")
        files += [(label, image) for image in images]
    return files


def _resize_and_crop(image: Image.Image, where: str, size: int) -> NDArray[np.uint8]:
    """RGB image to uint8 (3, size, size): shorter side to `size` (bilinear, antialiased), then the centre."""
    shorter = min(image.size)
    width, height = (size * side // shorter for side in image.size)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (width - size) // 2, (height - size) // 2
    return np.asarray(image.crop((left, top, left + size, top + size))).transpose(2, 0, 1)
