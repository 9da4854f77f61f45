"""Merged tables: the many small parts of a run once more as one file per table, which is read in a tenth of the time.

A run of the whole sweep over twenty tasks has 3,000 parts, and opening them is most of the time that a report takes. The merged
files are derived: they are made when a run ends or a report is made, are used only while the parts have not changed, and may be
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
from results.files import StoreError, digest, whole_file
from results.parts import parts_of, read_parts, write_rows

FOLDER, KEY = "merged", b"parts"
"""The folder of merged files in a run, and the metadata in which a merged file names the parts that it was made of."""
TABLES = {"predictions": schema.PREDICTIONS, "evaluations": schema.EVALUATIONS}
FEWEST = 16
"""Fewer parts than this are as quick to read unmerged."""


def read_merged(directory: Path, table: str, parts: Iterable[Path], columns: pa.Schema) -> pa.Table | None:
    """The merged table; None if there is none, or if the parts have changed since."""
    path = directory / FOLDER / f"{table}.parquet"
    try:
        if not _is_of(path, _key(parts)):
            return None
        rows = pq.ParquetFile(path).read().select(columns.names).cast(columns)
        rows.validate(full=True)
        return rows
    except (OSError, KeyError, pa.ArrowException):
        return None


def merge(directory: Path) -> None:
    """Merge the tables of the run in `directory` that have many parts, if they changed since they were merged.

    A table with an unreadable part is not merged, nor is one of which a worker takes a part away meanwhile. If nothing can be
    written (somebody else's directory, a full disk), nothing is: the parts say the same.
    """
    for table, columns in TABLES.items():
        parts, path = parts_of(directory, table), directory / FOLDER / f"{table}.parquet"
        try:
            key = _key(parts)
        except OSError:
            continue
        if len(parts) < FEWEST or _is_of(path, key):
            continue
        rows, problems = read_parts(parts, columns)
        if problems:
            continue
        with suppress(StoreError), whole_file(path) as temporary:
            write_rows(rows.replace_schema_metadata({KEY: key}), temporary)


def _is_of(path: Path, key: bytes) -> bool:
    """True if the merged file at `path` exists, is readable, and was made of the parts with this key."""
    try:
        return path.exists() and (pq.read_schema(path).metadata or {}).get(KEY) == key
    except (OSError, pa.ArrowException):
        return False


def _key(parts: Iterable[Path]) -> bytes:
    """A digest of names, sizes and times of the parts, which changes when one of them does."""
    stats = [(path.name, os.stat(path)) for path in parts]
    return digest([[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]).encode()
