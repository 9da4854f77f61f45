"""Images in parquet files as a stream of tasks: one task per data set, per group of its classes, or per value of a column."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field, field_validator, model_validator

from scenarios.base import DataError, ScenarioSettings
from scenarios.parts.images.parquet import Columns, ParquetImages, ParquetSet, parquet_sets
from scenarios.parts.images.scenario import FolderScenario
from scenarios.parts.images.settings import FolderSettings, found_folders, without
from scenarios.parts.labels import PARTS

ClassName = str | int
Group = Annotated[list[ClassName], Field(min_length=2)]


class ParquetSettings(FolderSettings):
    """The folders that hold parquet files, the columns to read, and the way in which rows become tasks."""

    image_column: str | None = Field(None, description="column of encoded images; `image` or `img` if not given")
    label_column: str | None = Field(None, description="column of labels, numbers or text; `label` if not given")
    groups: Annotated[int, Field(ge=2)] | dict[str, Group] | None = Field(
        None, description="tasks of so many classes each, or classes by the name of their task; one task if not given"
    )
    task_column: str | None = Field(None, description="column whose values are the tasks; one task if not given")

    @field_validator("groups")
    @classmethod
    def _check_groups(cls, groups: int | dict[str, list[ClassName]] | None) -> int | dict[str, list[ClassName]] | None:
        for name, members in groups.items() if isinstance(groups, dict) else ():
            if repeated := [member for member in members if members.count(member) > 1]:
                raise ValueError(f"class {repeated[0]} stands twice in `{name}`")
        return groups

    @model_validator(mode="after")
    def _check_one_way(self) -> ParquetSettings:
        if self.groups is not None and self.task_column is not None:
            raise ValueError("groups and task_column both say what a task is; give one of them")
        return self


class Parquet(FolderScenario):
    """Data sets in parquet files, such as the Hugging Face hub has them; images uint8 (N, 3, S, S).

    Each folder of `folders` holds `train-*.parquet` and `test-*.parquet` (or `validation-*.parquet`), or several data sets in
    folders or under names of their own (`cars-train.parquet`). Without `groups` and `task_column` each data set is a task.
    Images are read as RGB, the shorter side is resized to `image_size` and the centre is cut out.
    """

    version = 1
    Settings: ClassVar[type[ScenarioSettings]] = ParquetSettings
    settings: ParquetSettings

    @classmethod
    def identity_settings(cls, settings: ScenarioSettings) -> dict[str, Any]:
        places = ("folders", "image_column", "label_column", "groups", "task_column")
        return without(super().identity_settings(settings), *places)

    @cached_property
    def sources(self) -> dict[str, ParquetImages]:
        """The tasks of all data sets, in the order of the settings."""
        columns = Columns(self.settings.image_column, self.settings.label_column)
        folders = found_folders(self.settings.folders, self.source)
        sets = [data for name, folder in folders.items() for data in parquet_sets(name, folder, columns)]
        found: dict[str, ParquetImages] = {}
        for data in sets:
            for task in self._cut(data, alone=len(sets) == 1):
                if task.name in found:
                    raise DataError(f"{data.folder}: a second task is named {task.name}; names must differ")
                found[task.name] = task
        return found

    def _cut(self, data: ParquetSet, alone: bool) -> list[ParquetImages]:
        """The tasks of one data set. alone: True if there is no other, so that tasks can do without its name."""
        groups, column = self.settings.groups, self.settings.task_column
        if column is not None:
            values = data.column(column)
            names = sorted(set(values["train"].tolist()) | set(values["test"].tolist()))
            return [
                data.cut(
                    name if alone else f"{data.name}_{name}",
                    {part: np.flatnonzero(values[part] == name) for part in PARTS},
                )
                for name in names
            ]
        if groups is None:
            return [data.whole()]
        by_name = _chunks(data, groups) if isinstance(groups, int) else _named_groups(data, groups, alone)
        return [
            data.cut(name, {part: np.flatnonzero(np.isin(data.class_of[part], members)) for part in PARTS})
            for name, members in by_name.items()
        ]


def _chunks(data: ParquetSet, size: int) -> dict[str, list[str]]:
    """The classes in groups of `size`, in alphabetical order, by task. Raises DataError if one class is left over."""
    classes = list(data.classes)
    if len(classes) % size == 1:
        raise DataError(
            f"scenario.groups = {size}: {data.name} has {len(classes)} classes, so the last task would have one"
        )
    groups = [classes[start : start + size] for start in range(0, len(classes), size)]
    width = len(str(len(groups) - 1))
    return {f"{data.name}_{i:0{width}d}": group for i, group in enumerate(groups)}


def _named_groups(data: ParquetSet, groups: Mapping[str, list[ClassName]], alone: bool) -> dict[str, list[str]]:
    """The given groups by task, their classes as the data set names them. Raises DataError for a class that is not there."""
    width = max(map(len, data.classes))
    found = {}
    for name, members in groups.items():
        called = [f"{member:0{width}d}" if isinstance(member, int) else member for member in members]
        for member, given in zip(called, members, strict=True):
            if member not in data.classes:
                some = ", ".join(data.classes[:6])
                raise DataError(f"scenario.groups: {name}: {data.name} has no class {given}; it has {some} and so on")
        found[name if alone else f"{data.name}_{name}"] = called
    return found
