"""What the many small parts of a run say, once more as one file per table: read in a tenth of the time.

A run of the whole sweep over twenty tasks has 3,000 parts, and opening them is most of the time that a report takes. The merged
files are derived: they are made when a run ends or a report is made, count only while the parts are what they were, and may be
deleted at any time.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from results import schema
from results.files import digest, whole_file
from results.parts import parts_of, read_parts

FOLDER, KEY = "merged", b"parts"
TABLES = {"predictions": schema.PREDICTIONS, "evaluations": schema.EVALUATIONS}
FEWEST = 16
"""So few parts are as quick to read as they are."""


def read_merged(directory: Path, table: str, parts: Iterable[Path], columns: pa.Schema) -> pa.Table | None:
    """The table as it was merged; None where it was not, or where its parts are not those of then."""
    path = directory / FOLDER / f"{table}.parquet"
    try:
        if not _is_of(path, _key(parts)):
            return None
        return pq.ParquetFile(path).read().select(columns.names).cast(columns)
    except (OSError, KeyError, pa.ArrowException):
        return None


def merge(directory: Path) -> None:
    """Merge the tables of the run in `directory` that have many parts, unless that was done since the last of them.

    A table with a part that cannot be read is not merged. Where nothing can be written (somebody else's directory, a full
    disk) nothing is: the parts say the same.
    """
    for table, columns in TABLES.items():
        parts, path = parts_of(directory, table), directory / FOLDER / f"{table}.parquet"
        key = _key(parts)
        if len(parts) < FEWEST or _is_of(path, key):
            continue
        rows, problems = read_parts(parts, columns)
        if problems:
            continue
        with suppress(OSError), whole_file(path) as temporary:
            pq.write_table(rows.replace_schema_metadata({KEY: key}), temporary, compression="zstd")


def _is_of(path: Path, key: bytes) -> bool:
    """Whether the merged file at `path` is there, can be read, and is of the parts with this key."""
    try:
        return path.exists() and (pq.read_schema(path).metadata or {}).get(KEY) == key
    except (OSError, pa.ArrowException):
        return False


def _key(parts: Iterable[Path]) -> bytes:
    """Names, sizes and times of the parts: what changes when one of them does."""
    stats = [(path.name, os.stat(path)) for path in parts]
    return digest([[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]).encode()
