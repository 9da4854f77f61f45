"""Settings of scenarios whose images lie in folders and are brought to one size."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator

from scenarios.base import DataError, ScenarioSettings, SourceOptions
from scenarios.parts.data_location import describe_folder, search_roots

Share = Annotated[float, Field(ge=0, le=1)]
PositiveShare = Annotated[float, Field(gt=0, le=1)]


class SizedSettings(ScenarioSettings):
    """The one size that images are brought to, and the statistics of their pixels."""

    image_size: int = Field(224, ge=1, le=4096, description="shorter side after resizing, and side of the centre crop")
    mean: tuple[Share, Share, Share] = Field((0.485, 0.456, 0.406), description="per channel; ImageNet's if not given")
    std: tuple[PositiveShare, PositiveShare, PositiveShare] = Field(
        (0.229, 0.224, 0.225), description="per channel; ImageNet's if not given"
    )


class FolderSettings(SizedSettings):
    """The folders that hold the images, and the one size that they are brought to."""

    folders: list[str] = Field(
        min_length=1, description="the folders of the data sets, relative to the data root if not absolute"
    )

    @field_validator("folders")
    @classmethod
    def _check_names(cls, folders: list[str]) -> list[str]:
        names = [named(Path(folder)) for folder in folders]
        for name, folder in zip(names, folders, strict=True):
            if name in ("", ".."):
                raise ValueError(f"`{folder}` has no name that a task could take")
            if names.count(name) > 1:
                raise ValueError(f"two folders are named `{name}`; a task is named by its folder, so names must differ")
        return folders


def without(settings: dict[str, Any], *places: str) -> dict[str, Any]:
    """Settings as JSON without those that only say where images lie: names and pixels are in the fingerprint."""
    return {key: value for key, value in settings.items() if key not in places}


def named(path: Path) -> str:
    """The name of a file or folder in Unicode's normal form C: macOS stores other bytes for the same letters than Linux."""
    return unicodedata.normalize("NFC", path.name)


def found_folders(folders: list[str], source: SourceOptions) -> dict[str, Path]:
    """Task name to folder, in the order of the settings. Raises DataError if one is not there."""
    there = [found_folder(folder, source, "folders") for folder in folders]
    return {named(folder): folder for folder in there}


def found_folder(folder: str, source: SourceOptions, setting: str) -> Path:
    """The folder of that name below the data root. Raises DataError, which tells the `setting`, if it is not there."""
    places = [root / folder for root in search_roots(source)]  # an absolute folder stays itself
    there = next((place for place in places if place.is_dir()), None)
    if there is None:
        seen = "; ".join(dict.fromkeys(describe_folder(place) for place in places))
        raise DataError(f"scenario.{setting}: {folder} not found ({seen}); name the folder above it with --data-root")
    return there
