"""Data sets of photographs of higher resolution, one task each: cars, flowers, birds."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from scenarios.base import DataError, ScenarioSettings
from scenarios.parts.decoding import Decoder
from scenarios.parts.images.formats import open_data_set
from scenarios.parts.images.preparation import Preparation
from scenarios.parts.images.scenario import FolderScenario
from scenarios.parts.images.settings import SizedSettings, found_folder, named, without
from scenarios.parts.images.source import ImageSource

LARGER = (8, 7)
"""Training images are larger than test images by this ratio if nobody says otherwise: 256 for 224, as ImageNet is tested."""


class DataSet(BaseModel):
    """One data set: its folder, and what its content does not tell."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: str = Field(description="relative to the data root if not absolute")
    name: str | None = Field(None, min_length=1, description="of the task; the folder's if not given")
    format: Literal["auto", "tree", "parquet", "cub", "stanford_cars", "flowers102"] = Field(
        "auto", description="layout of the files; found by their names if `auto`"
    )

    @property
    def called(self) -> str:
        """The name of the task."""
        return self.name or named(Path(self.folder))


class FineGrainedSettings(SizedSettings):
    """The data sets, and the sizes that their images are brought to."""

    data_sets: list[DataSet] = Field(min_length=1, description="a folder each, or a mapping {folder, name, format}")
    train_size: int | None = Field(
        None,
        ge=1,
        le=8192,
        description="side of training images, for augmentation to cut from; image_size · 8/7 if not given",
    )
    crop_to_box: bool = Field(False, description="True to cut each image to the annotated box of its object first")

    @field_validator("data_sets", mode="before")
    @classmethod
    def _folders_alone(cls, given: Any) -> Any:
        return (
            [{"folder": each} if isinstance(each, str) else each for each in given]
            if isinstance(given, list)
            else given
        )

    @field_validator("data_sets")
    @classmethod
    def _check_names(cls, data_sets: list[DataSet]) -> list[DataSet]:
        names = [each.called for each in data_sets]
        for name, each in zip(names, data_sets, strict=True):
            if name in ("", ".."):
                raise ValueError(f"`{each.folder}` has no name that a task could take; give it a `name`")
            if names.count(name) > 1:
                raise ValueError(f"two data sets are named `{name}`; give one of them another `name`")
        return data_sets

    @model_validator(mode="after")
    def _check_sizes(self) -> FineGrainedSettings:
        if self.side_to_learn < self.image_size:
            raise ValueError(f"train_size = {self.train_size} is smaller than image_size = {self.image_size}")
        return self

    @property
    def side_to_learn(self) -> int:
        """The side of training images."""
        return self.train_size or round(self.image_size * LARGER[0] / LARGER[1])


class FineGrained(FolderScenario):
    """One task per data set, with classes of its own; test images uint8 (N, 3, S, S), training images (N, 3, L, L).

    S is `image_size`, L is `train_size`. Each image is read as RGB, turned as its EXIF says, resized so that its shorter side is
    L, and cut to the square in its middle; validation and test images are the middle S of that.
    """

    version = 1
    Settings: ClassVar[type[ScenarioSettings]] = FineGrainedSettings
    settings: FineGrainedSettings

    @classmethod
    def identity_settings(cls, settings: ScenarioSettings) -> dict[str, Any]:
        assert isinstance(settings, FineGrainedSettings)
        found = without(super().identity_settings(settings), "data_sets")
        # The default is the same size as that size given.
        return {**found, "train_size": settings.side_to_learn}

    @property
    def training_shape(self) -> tuple[int, int, int]:
        return (3, self.settings.side_to_learn, self.settings.side_to_learn)

    @property
    def preparation(self) -> Preparation:
        decoder = Decoder(upright=True, sixteen_bit=True)
        return Preparation(self.settings.image_size, self.settings.side_to_learn, decoder)

    @cached_property
    def sources(self) -> Mapping[str, ImageSource]:
        found: dict[str, ImageSource] = {}
        for each in self.settings.data_sets:
            folder = found_folder(each.folder, self.source, "data_sets")
            source = open_data_set(each.called, folder, each.format, crop=self.settings.crop_to_box)
            if source.name in found:
                raise DataError(f"{folder}: a second task is named {source.name}; names must differ")
            found[source.name] = source
        return found
