"""One parquet file with a column of encoded images: its labels, its images in pieces, and errors that name file and row."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from scenarios.base import DataError
from scenarios.parts.images.source import EncodedImages

IMAGE_COLUMNS = ("image", "img")
"""The columns that hold the images if nobody names one."""

_ROWS_PER_BATCH = 1024
"""Rows of encoded images that are in memory at once, or one row group if that is larger."""


class ImageTable:
    """A parquet file, such as the Hugging Face hub has them.

    file: its path.
    columns: their names.
    rows: their number.

    Raises DataError if it is no parquet file, truncated or damaged.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        with _damage_named(file), _opened(file) as table:
            self._schema: pa.Schema = table.schema_arrow
            self.rows: int = table.metadata.num_rows
        self.columns: tuple[str, ...] = tuple(self._schema.names)

    def column(self, names: Sequence[str], setting: str = "") -> str:
        """The first of the named columns that is there. Raises DataError, which tells the `setting` that names one, if any."""
        for name in names:
            if self.columns.count(name) > 1:
                raise DataError(f"{self.file}: has two columns {name}; leave one of them")
            if name in self.columns:
                return name
        wanted = " or ".join(names)
        raise DataError(
            f"{self.file}: has no column {wanted}; it has {', '.join(self.columns)}"
            + (f"; name one with {setting}" if setting else "")
        )

    def class_names(self, column: str) -> list[str] | None:
        """The names of the labels in a column, in the order of their numbers, if the file holds them (library `datasets`)."""
        try:
            features = json.loads((self._schema.metadata or {})[b"huggingface"])["info"]["features"]
            names = features[column]["names"]
        except (KeyError, TypeError, ValueError, RecursionError):
            return None
        return (
            [unicodedata.normalize("NFC", str(name)) for name in names] if isinstance(names, list) and names else None
        )

    def values(self, column: str) -> list[int | str | None]:
        """The values of a column of whole numbers, text or truth values, in order. Raises DataError for one of another type."""
        with _damage_named(self.file), _opened(self.file) as table:
            read = table.read(columns=[column])[column]
            kind = read.type.value_type if pa.types.is_dictionary(read.type) else read.type
            values: list[Any] = read.to_pylist()
        if pa.types.is_floating(kind) and all(
            value is None or value != value or value == value // 1 for value in values
        ):
            # Whole numbers beside a missing one, as pandas writes them.
            return [None if value is None or value != value else int(value) for value in values]
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            return [None if value is None else unicodedata.normalize("NFC", value) for value in values]
        if pa.types.is_boolean(kind):
            return [None if value is None else str(value) for value in values]
        if pa.types.is_integer(kind) or pa.types.is_null(kind):
            return values
        raise DataError(f"{self.file}: column {column} is {kind}, expected whole numbers or text")

    def encoded(self, column: str, rows: NDArray[np.int64] | None = None) -> Iterator[EncodedImages]:
        """The encoded images of some rows, in order and in batches. Row groups without any of them are not read.

        column: of structs with `bytes`, as the `datasets` library writes images, or of bytes.
        rows: sorted numbers, int64 (N,); None: all of them.
        Raises DataError.
        """
        wanted = np.arange(self.rows) if rows is None else rows
        self._check_type(column)
        # Row groups are often small: some are joined, so that a batch is worth the threads that decode it.
        contents: list[bytes] = []
        places: list[str] = []
        with _damage_named(self.file), _opened(self.file) as table:
            start = 0
            for group in range(table.num_row_groups):
                end = start + table.metadata.row_group(group).num_rows
                if ((wanted >= start) & (wanted < end)).any():
                    for batch in table.iter_batches(_ROWS_PER_BATCH, row_groups=[group], columns=[column]):
                        here = wanted[(wanted >= start) & (wanted < start + len(batch))]
                        contents += self._taken(batch.column(0), here - start, here, column)
                        places += [f"{self.file}: row {row}" for row in here]
                        start += len(batch)
                        if len(contents) >= _ROWS_PER_BATCH:
                            yield EncodedImages(contents, places)
                            contents, places = [], []
                start = end
        if contents:
            yield EncodedImages(contents, places)

    def _check_type(self, column: str) -> None:
        kind = self._schema.field(column).type
        if not _is_bytes(kind) and not (
            pa.types.is_struct(kind)
            and kind.get_field_index("bytes") >= 0
            and _is_bytes(kind.field(kind.get_field_index("bytes")).type)
        ):
            raise DataError(
                f"{self.file}: {column} is {kind}, expected encoded images: bytes, or a struct with `bytes`"
            )

    def _taken(self, values: Any, positions: NDArray[np.int64], rows: NDArray[np.int64], column: str) -> list[bytes]:
        structs = pa.types.is_struct(values.type)
        encoded: list[bytes] = []
        for row, content in zip(rows, values.take(pa.array(positions)).to_pylist(), strict=True):
            found = content.get("bytes") if structs and content is not None else content
            if not found:
                raise DataError(f"{self.file}: row {row}: {column} holds no bytes{_path_of(content)}")
            encoded.append(found)
        return encoded


def _path_of(content: Any) -> str:
    """The path that an image without bytes names: such a file was written on a machine that had the images beside it."""
    path = content.get("path") if isinstance(content, dict) else None
    return f" but the path {path}; write the images themselves into the file" if path else ""


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind))


def _opened(file: Path) -> pq.ParquetFile:
    return pq.ParquetFile(file, page_checksum_verification=True)


@contextmanager
def _damage_named(file: Path) -> Iterator[None]:
    """Turn pyarrow's errors inside the block into DataError, one line with the file."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise DataError(f"{file}: not a readable parquet file, truncated or damaged ({reason})") from error
