"""CIFAR-100 as the Hugging Face hub has it: parquet shards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scenarios.base import DataError
from scenarios.parts.cifar100.classes import (
    COARSE_NAMES,
    COARSE_OF_FINE,
    FINE_NAMES,
    WITHIN_OF_FINE,
)
from scenarios.parts.cifar100.reader import (
    IMAGE_SHAPE,
    GrowingTask,
    Reader,
    check_labels,
    to_array,
)
from scenarios.parts.decoded_cache import DecodedTask
from scenarios.parts.decoding import Tick, decode_images
from scenarios.parts.images.parquet_table import ImageTable
from scenarios.parts.labels import PARTS, check_counts, integers

IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = ("fine_label", "label")
COARSE_COLUMN = "coarse_label"


class ParquetReader(Reader):
    """Shards `train-*.parquet` and `test-*.parquet` in the columns of the Hugging Face hub.

    img or image: struct of `bytes` (an encoded image) and `path`, or bytes.
    fine_label or label: 0..99.
    coarse_label: 0..19; it may be missing, because it follows from the other.
    """

    kind = "parquet shards"

    @classmethod
    def missing(cls, folder: Path) -> list[str] | None:
        lacking = [f"{part}-*.parquet" for part in PARTS if not any(folder.glob(f"{part}-*.parquet"))]
        return None if len(lacking) == 2 else lacking

    def source_files(self, superclass: str) -> list[Path]:
        return [shard for part in PARTS for shard in self._shards(part)]

    def _shards(self, part: str) -> list[Path]:
        return sorted(self.folder.glob(f"{part}-*.parquet"))

    def read(self, superclasses: Sequence[str], tick: Tick) -> dict[str, DecodedTask]:
        # All labels first: they cost milliseconds, and a wrong copy should be refused before anything is decoded.
        labels = {shard: _read_labels(ImageTable(shard)) for part in PARTS for shard in self._shards(part)}
        for part in PARTS:
            shards = self._shards(part)
            where = f"{self.folder / part}-*.parquet ({len(shards)} shards)"
            check_counts(where, np.concatenate([labels[shard] for shard in shards]), FINE_NAMES, self.counts, part)

        found = {name: GrowingTask.empty(self.counts) for name in superclasses}
        wanted = np.isin(COARSE_OF_FINE, [COARSE_NAMES.index(name) for name in superclasses])
        for part in PARTS:
            for shard in self._shards(part):
                _read_shard(ImageTable(shard), part, labels[shard], wanted, found, tick)
        return {name: arrays.finish() for name, arrays in found.items()}


def _read_shard(
    table: ImageTable,
    part: str,
    fine: NDArray[np.int64],
    wanted: NDArray[np.bool_],
    found: dict[str, GrowingTask],
    tick: Tick,
) -> None:
    rows = np.flatnonzero(wanted[fine])
    start = 0
    for batch in table.encoded(table.column(IMAGE_COLUMNS), rows):
        images = decode_images(batch.contents, batch.places.__getitem__, to_array, IMAGE_SHAPE, tick)
        labels = fine[rows[start : start + len(images)]]
        coarse = COARSE_OF_FINE[labels]
        for index in np.unique(coarse):
            chosen = coarse == index
            found[COARSE_NAMES[index]].add(part, images[chosen], WITHIN_OF_FINE[labels[chosen]])
        start += len(images)


def _read_labels(table: ImageTable) -> NDArray[np.int64]:
    """Fine labels of all rows, int64 (N,), checked against the coarse ones if there are any. Raises DataError."""
    table.column(IMAGE_COLUMNS)
    column = table.column(LABEL_COLUMNS)
    fine = _integers(table, column)
    coarse = _integers(table, COARSE_COLUMN) if COARSE_COLUMN in table.columns else None
    check_labels(str(table.file), fine, coarse)
    names = table.class_names(column)
    if names is not None and names != list(FINE_NAMES):
        if sorted(names) != list(FINE_NAMES):
            raise DataError(f"{table.file}: {column} names {len(names)} classes, which are not the 100 of CIFAR-100")
        # The numbers count in an order of their own; their names say what they mean.
        fine = np.array([FINE_NAMES.index(name) for name in names])[fine]
    return fine


def _integers(table: ImageTable, column: str) -> NDArray[np.int64]:
    values = table.values(column)
    if None in values:
        raise DataError(f"{table.file}: row {values.index(None)} has no {column}")
    return integers(values, f"{table.file}: {column}")
