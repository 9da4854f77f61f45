"""The parts that a table of a run is stored in, and all of them as one table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from results.schema import YOUNGER


@dataclass(frozen=True, slots=True)
class Problem:
    """A stored file that could not be used, and the reason."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


def write_rows(rows: pa.Table, path: Path, level: int | None = None) -> None:
    """Write a table as a parquet file.

    level: of zstd's compression, 1 to 22; None: its own.
    """
    # Hardly two margins are equal, so a dictionary of them is one more copy. Their first bytes are much alike, which a compressor
    # finds when first bytes stand beside first bytes: two thirds of the size, and no digit is lost.
    split = [field.name for field in rows.schema if pa.types.is_float32(field.type)]
    others = [name for name in rows.schema.names if name not in split]
    pq.write_table(
        rows,
        path,
        compression="zstd",
        compression_level=level,
        use_dictionary=others if split else True,
        column_encoding=dict.fromkeys(split, "BYTE_STREAM_SPLIT") or None,
    )


def parts_of(directory: Path, table: str) -> list[Path]:
    """The parts of a table of the run in `directory`, sorted by name. Half-written ones end otherwise (`files.whole_file`)."""
    return sorted((directory / table).glob("*.parquet"))


def _with_younger(table: pa.Table, columns: pa.Schema) -> pa.Table:
    """The table with the columns that its version had not yet, all null."""
    for name in YOUNGER:
        if name in columns.names and name not in table.column_names:
            table = table.append_column(name, pa.nulls(len(table), columns.field(name).type))
    return table


def _mistake(table: pa.Table, columns: pa.Schema) -> str:
    """The reason why a table cannot have exactly `columns`; empty if it can, but for their types."""
    if missing := [name for name in columns.names if name not in table.column_names]:
        return f"written by another version: lacks the columns {', '.join(missing)}"
    if doubled := [name for name in columns.names if table.column_names.count(name) > 1]:
        return f"holds two columns {doubled[0]}"
    return ""


def read_parts(paths: Iterable[Path], columns: pa.Schema) -> tuple[pa.Table, list[Problem]]:
    """All readable parts as one table with exactly `columns`, and a problem for each part that is unreadable or has others.

    Columns that are younger than a part are null there (`schema.YOUNGER`).
    """
    tables, problems = [], []
    for path in paths:
        try:
            # Half the time of pq.read_table, which looks for data sets; there are thousands of small parts.
            table = _with_younger(pq.ParquetFile(path).read(use_threads=False), columns)
        except (OSError, pa.ArrowException) as error:
            problems.append(Problem(path, f"not readable as parquet ({str(error).splitlines()[0]})"))
            continue
        wrong = _mistake(table, columns)
        if wrong:
            problems.append(Problem(path, wrong))
            continue
        try:
            part = table.select(columns.names).cast(columns)
            # Nothing else looks whether text is text, and whether what is said once and meant often is there.
            part.validate(full=True)
            tables.append(part)
        except pa.ArrowException as error:
            problems.append(Problem(path, f"written by another version ({str(error).splitlines()[0]})"))
    merged = pa.concat_tables(tables) if tables else columns.empty_table()
    return merged.unify_dictionaries(), problems
