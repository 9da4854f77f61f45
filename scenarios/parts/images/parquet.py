"""Images in parquet files, as the Hugging Face hub has them: a data set, and the tasks that are cut from its rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scenarios.base import DataError
from scenarios.parts.images.parquet_files import TEST, TRAIN, VALIDATION, ShardSet, parquet_files, shard_sets
from scenarios.parts.images.parquet_table import IMAGE_COLUMNS, ImageTable
from scenarios.parts.images.source import EncodedImages, ImageSource, classes_of_both
from scenarios.parts.labels import PARTS

LABEL_COLUMNS = ("label",)
"""The column that holds the labels if nobody names one."""

UNLABELLED = -1
"""The label of images whose labels are withheld."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns that are read; None: the usual names.

    image: of encoded images.
    label: of whole numbers or text.
    """

    image: str | None = None
    label: str | None = None


@dataclass(frozen=True)
class _Shard:
    """One file with the values of its label column."""

    table: ImageTable
    image: str
    label: str
    values: Sequence[int | str | None]


class ParquetSet:
    """A data set in parquet files: its labels in memory, its images on disk.

    name: of the data set.
    folder: the folder that it lies in.
    columns: that are read.
    """

    def __init__(self, shards: ShardSet, folder: Path, columns: Columns) -> None:
        self.name, self.folder, self.columns, self._files = shards.name, folder, columns, shards.splits

    @cached_property
    def _shards(self) -> Mapping[str, Sequence[_Shard]]:
        """The files of "train" and "test". A test part whose labels are withheld gives way to the validation part."""
        found = {"train": [self._shard(file) for file in self._files[TRAIN]]}
        for split in (TEST, VALIDATION):
            if split in self._files:
                shards = [self._shard(file) for file in self._files[split]]
                if "test" not in found or _is_unlabelled(found["test"]):
                    found["test"] = shards
        return found

    def _shard(self, file: Path) -> _Shard:
        table = ImageTable(file)
        image = table.column([self.columns.image] if self.columns.image else IMAGE_COLUMNS, "scenario.image_column")
        label = table.column([self.columns.label] if self.columns.label else LABEL_COLUMNS, "scenario.label_column")
        return _Shard(table, image, label, table.values(label))

    @cached_property
    def _names(self) -> Mapping[int | str, str]:
        """The class name of each value of the label column: as the file says, else the text, else the padded number."""
        shards = [shard for part in PARTS for shard in self._shards[part]]
        for shard in shards:
            wrong = next((i for i, v in enumerate(shard.values) if v is None or v == UNLABELLED), None)
            if wrong is not None:
                raise DataError(
                    f"{shard.table.file}: row {wrong} has {shard.label} {shard.values[wrong]}: its label is withheld or missing"
                )
        values = {value for shard in shards for value in shard.values if value is not None}
        if len({type(value) for value in values}) > 1:
            raise DataError(
                f"{self.folder}: {self.name}: {shards[0].label} holds numbers in one file and text in another"
            )
        named = [(shard, each) for shard in shards if (each := shard.table.class_names(shard.label)) is not None]
        told = named[0][1] if named else None
        for shard, each in named:
            if each != told:
                raise DataError(f"{shard.table.file}: names its classes otherwise than {named[0][0].table.file.name}")
        names: dict[int | str, str] = {}
        numbers = [value for value in values if isinstance(value, int)]
        width = len(str(max(numbers, default=0)))
        for value in values:
            if isinstance(value, str):
                names[value] = value
            elif told is None:
                names[value] = f"{value:0{width}d}"
            elif 0 <= value < len(told):
                names[value] = told[value]
            else:
                raise DataError(
                    f"{self.folder}: {self.name}: {shards[0].label} {value} has no name; the file names {len(told)} classes"
                )
        if told is not None and len(set(told)) < len(told):
            raise DataError(f"{self.folder}: {self.name}: the file gives two classes one name")
        return names

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The names of all classes, in alphabetical order."""
        return tuple(sorted(set(self._names.values())))

    @cached_property
    def class_of(self) -> Mapping[str, NDArray[np.str_]]:
        """The class name of each row, by part, str (N,); files follow each other."""
        return {
            part: np.array(
                [self._names[value] for shard in self._shards[part] for value in shard.values if value is not None]
            )
            for part in PARTS
        }

    def column(self, name: str) -> Mapping[str, NDArray[np.str_]]:
        """The values of another column as text, by part, str (N,); numbers are padded, so that their order is that of the text.

        Raises DataError if a file lacks it, or a row has no value.
        """
        found: dict[str, list[int | str]] = {part: [] for part in PARTS}
        for part in PARTS:
            for shard in self._shards[part]:
                for row, value in enumerate(shard.table.values(shard.table.column([name], "scenario.task_column"))):
                    if value is None:
                        raise DataError(f"{shard.table.file}: row {row} has no {name}")
                    found[part].append(value)
        numbers = [value for values in found.values() for value in values if isinstance(value, int)]
        width = len(str(max(numbers, default=0)))
        return {
            part: np.array([f"{v:0{width}d}" if isinstance(v, int) else v for v in values], dtype=str)
            for part, values in found.items()
        }

    def whole(self) -> ParquetImages:
        """The data set as one task."""
        return self.cut(self.name, {part: np.arange(len(rows)) for part, rows in self.class_of.items()})

    def cut(self, name: str, rows: Mapping[str, NDArray[np.int64]]) -> ParquetImages:
        """A task of some rows.

        rows: sorted numbers by part, int64 (N,); files follow each other.
        """
        return ParquetImages(name, self, rows)

    def files(self) -> list[Path]:
        """The files that are read."""
        return [shard.table.file for part in PARTS for shard in self._shards[part]]

    def located(self, part: str, rows: NDArray[np.int64]) -> Iterator[tuple[ImageTable, str, NDArray[np.int64]]]:
        """The rows of a part by file: the file, its image column, and the rows within it, sorted, int64 (M,)."""
        start = 0
        for shard in self._shards[part]:
            end = start + len(shard.values)
            yield shard.table, shard.image, rows[(rows >= start) & (rows < end)] - start
            start = end


class ParquetImages(ImageSource):
    """One task: some rows of a data set in parquet files."""

    kind = "parquet images"

    def __init__(self, name: str, data: ParquetSet, rows: Mapping[str, NDArray[np.int64]]) -> None:
        super().__init__(name, data.folder)
        self._data, self._rows = data, rows

    @cached_property
    def classes(self) -> tuple[str, ...]:
        return classes_of_both(
            self, {part: set(self._data.class_of[part][self._rows[part]].tolist()) for part in PARTS}
        )

    def files(self) -> list[Path]:
        return self._data.files()

    @property
    def options(self) -> Mapping[str, object]:
        return {
            "columns": asdict(self._data.columns),
            "classes": self.classes,
            "rows": {
                part: hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest() for part, rows in self._rows.items()
            },
        }

    def labels(self, part: str) -> NDArray[np.int64]:
        return np.searchsorted(np.array(self.classes), self._data.class_of[part][self._rows[part]]).astype(np.int64)

    def names(self, part: str) -> Sequence[str]:
        return [
            f"{self._data.name}/{table.file.name} row {row}"
            for table, _, rows in self._data.located(part, self._rows[part])
            for row in rows.tolist()
        ]

    def encoded(self, part: str) -> Iterator[EncodedImages]:
        for table, image, rows in self._data.located(part, self._rows[part]):
            if len(rows):
                yield from table.encoded(image, rows)


def looks_like_parquet(folder: Path) -> bool:
    """True if there are parquet files in `folder` or below."""
    return bool(parquet_files(folder))


def parquet_sets(name: str, folder: Path, columns: Columns) -> list[ParquetSet]:
    """The data sets in a folder; a single one bears the folder's `name`. Raises DataError if there is none."""
    return [ParquetSet(shards, folder, columns) for shards in shard_sets(name, folder)]


def only_parquet_set(name: str, folder: Path, columns: Columns) -> ParquetSet:
    """The data set in a folder, under the folder's `name`. Raises DataError if there is none, or if there are several."""
    found = parquet_sets(name, folder, columns)
    if len(found) > 1:
        names = ", ".join(data.name for data in found)
        raise DataError(
            f"{folder}: holds several data sets ({names}), one task needs one; leave each in a folder of its own"
        )
    return found[0]


def _is_unlabelled(shards: Sequence[_Shard]) -> bool:
    return all(value is None or value == UNLABELLED for shard in shards for value in shard.values)
