"""CIFAR-100 as the Hugging Face hub has it: parquet shards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from scenarios.base import DataError
from scenarios.parts.cifar100.classes import (
    COARSE_NAMES,
    COARSE_OF_FINE,
    WITHIN_OF_FINE,
)
from scenarios.parts.cifar100.reader import (
    IMAGE_SHAPE,
    PARTS,
    GrowingTask,
    Reader,
    check_counts,
    check_labels,
    integers,
    to_array,
)
from scenarios.parts.decoded_cache import DecodedTask
from scenarios.parts.decoding import Tick, decode_images

_ROWS_PER_BATCH = 2048
"""Rows of encoded images that are in memory at once."""


class ParquetReader(Reader):
    """Shards `train-*.parquet` and `test-*.parquet` in the columns of the Hugging Face hub.

    img: struct of `bytes` (an encoded image of any lossless format) and `path`.
    fine_label: 0..99.
    coarse_label: 0..19.
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
        labels = {shard: _read_labels(shard) for part in PARTS for shard in self._shards(part)}
        for part in PARTS:
            shards = self._shards(part)
            where = f"{self.folder / part}-*.parquet ({len(shards)} shards)"
            check_counts(where, np.concatenate([labels[shard] for shard in shards]), self.counts.of(part))

        found = {name: GrowingTask.empty(self.counts) for name in superclasses}
        wanted = np.isin(COARSE_OF_FINE, [COARSE_NAMES.index(name) for name in superclasses])
        for part in PARTS:
            for shard in self._shards(part):
                self._read_shard(shard, part, labels[shard], wanted, found, tick)
        return {name: arrays.finish() for name, arrays in found.items()}

    def _read_shard(
        self,
        shard: Path,
        part: str,
        fine: NDArray[np.int64],
        wanted: NDArray[np.bool_],
        found: dict[str, GrowingTask],
        tick: Tick,
    ) -> None:
        start = 0
        for encoded in _encoded_batches(shard):
            labels = fine[start : start + len(encoded)]
            rows = np.flatnonzero(wanted[labels])
            first = start  # bound here: `start` moves on

            def where(i: int, rows: NDArray[np.int64] = rows, first: int = first) -> str:
                return f"{shard}: row {first + rows[i]}"

            images = decode_images(_bytes_of(encoded, rows, where), where, to_array, IMAGE_SHAPE, tick)
            coarse = COARSE_OF_FINE[labels[rows]]
            for index in np.unique(coarse):
                chosen = coarse == index
                found[COARSE_NAMES[index]].add(part, images[chosen], WITHIN_OF_FINE[labels[rows][chosen]])
            start += len(encoded)


def _open_shard(shard: Path) -> pq.ParquetFile:
    return pq.ParquetFile(shard, page_checksum_verification=True)


def _read_labels(shard: Path) -> NDArray[np.int64]:
    """Fine labels of all rows, checked against the coarse ones: int64 (N,)."""
    try:
        with _open_shard(shard) as file:
            names = file.schema_arrow.names
            if lacking := [name for name in ("img", "fine_label", "coarse_label") if name not in names]:
                raise DataError(f"{shard}: has no column {lacking[0]}; it has {', '.join(names)}")
            kind = file.schema_arrow.field("img").type
            if not pa.types.is_struct(kind) or kind.get_field_index("bytes") < 0:
                raise DataError(f"{shard}: img is {kind}, expected a struct with `bytes`")
            table = file.read(columns=["fine_label", "coarse_label"])
    except (pa.ArrowException, OSError, ValueError) as error:
        raise damaged(shard, "parquet file", error) from error
    fine, coarse = (integers(table[name].to_numpy(), f"{shard}: {name}") for name in ("fine_label", "coarse_label"))
    check_labels(str(shard), fine, coarse)
    return fine


def _encoded_batches(shard: Path) -> Any:
    """The `img` column in pieces, so that memory holds one piece at a time. Raises DataError if the shard is damaged."""
    try:
        with _open_shard(shard) as file:
            for batch in file.iter_batches(batch_size=_ROWS_PER_BATCH, columns=["img"]):
                yield batch.column("img")
    except (pa.ArrowException, OSError, ValueError) as error:
        raise damaged(shard, "parquet file", error) from error


def _bytes_of(column: Any, rows: NDArray[np.int64], where: Callable[[int], str]) -> list[bytes | Path]:
    encoded: list[bytes | Path] = column.field("bytes").take(pa.array(rows)).to_pylist()
    for i, content in enumerate(encoded):
        if not isinstance(content, bytes):
            raise DataError(f"{where(i)}: img holds no bytes")
    return encoded


def damaged(file: Path, kind: str, error: Exception) -> DataError:
    reason = (str(error).splitlines() or [type(error).__name__])[0] or type(error).__name__
    return DataError(f"{file}: not a readable {kind}, truncated or damaged ({reason})")
