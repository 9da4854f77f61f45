"""Parquet files that are almost those of a table: a column of another type, missing, doubled, or with odd values (not a test)."""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.fuzz.near import NOT_FINITE, ODD_TEXT, near_bytes

NUMBERS = [0, 1, -1, 5, 255, 2**15 - 1, -(2**15), 2**31 - 1, -(2**31), 2**63 - 1, -(2**63)]
TEXTS = [
    *(text for text in ODD_TEXT if text.isprintable()),
    "a\nb",
    "\0",
    "{",
    "[]",
    '{"attack": 3}',
    "[" * 3000,
    "9" * 5000,
]
TYPES = [
    *(
        pa.int8(),
        pa.int64(),
        pa.uint64(),
        pa.float16(),
        pa.float64(),
        pa.string(),
        pa.large_string(),
        pa.binary(),
        pa.bool_(),
    ),
    *(
        pa.null(),
        pa.timestamp("ns"),
        pa.date32(),
        pa.decimal128(30, 3),
        pa.list_(pa.int64()),
        pa.dictionary(pa.int8(), pa.string()),
    ),
]


def stored(table: pa.Table, **options: Any) -> bytes:
    """The table as a parquet file: plain, so that a changed byte is a changed value, unless the options say otherwise."""
    stream = io.BytesIO()
    pq.write_table(table, stream, **{"compression": "none", "use_dictionary": False, **options})
    return stream.getvalue()


def near_files(table: pa.Table) -> SearchStrategy[bytes]:
    """Files that are almost that of the table."""
    return near_bytes(stored(table)) | near_bytes(stored(table, compression="zstd")) | near_tables(table)


@st.composite
def near_tables(draw: st.DrawFn, table: pa.Table) -> bytes:
    """A whole file with a table of other columns or values."""
    for _ in range(draw(st.integers(1, 3))):
        if not table.num_columns:
            break
        place = draw(st.integers(0, table.num_columns - 1))
        name, column = table.schema.field(place).name, table.column(place)
        kind = draw(
            st.sampled_from(["values", "values", "values", "nothing", "type", "raw", "out", "twice", "name", "rows"])
        )
        if kind == "values":
            table = table.set_column(place, name, draw(_with_odd_values(column)))
        elif kind == "nothing":
            table = table.set_column(place, name, pa.nulls(len(column), column.type))
        elif kind == "type":
            table = table.set_column(place, name, _as(column, draw(st.sampled_from(TYPES))))
        elif kind == "raw":
            table = table.set_column(place, name, _not_utf8(len(column)))
        elif kind == "out":
            table = table.remove_column(place)
        elif kind == "twice":
            table = table.append_column(name, column)
        elif kind == "name":
            table = table.rename_columns(
                [f"{each}x" if i == place else each for i, each in enumerate(table.column_names)]
            )
        else:
            table = pa.concat_tables([table, table]) if draw(st.booleans()) else table.slice(0, draw(st.integers(0, 1)))
    try:
        return stored(table)
    except (pa.ArrowException, NotImplementedError):  # no file can hold such a column
        return stored(table.select([]))


@st.composite
def _with_odd_values(draw: st.DrawFn, column: pa.ChunkedArray) -> pa.Array:
    values = column.to_pylist()
    odd: SearchStrategy[Any] = st.none()
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_integer(kind):
        odd |= st.sampled_from(NUMBERS)
    elif pa.types.is_floating(kind):
        odd |= st.sampled_from([*NOT_FINITE, *map(float, NUMBERS)])
    elif pa.types.is_string(kind):
        odd |= st.sampled_from(TEXTS)
    if not values:
        return pa.array(values, kind)
    first = draw(st.integers(0, len(values) - 1))
    for i in range(first, draw(st.integers(first, len(values)))):
        values[i] = draw(odd)
    try:
        return pa.array(values, kind)
    except (pa.ArrowException, OverflowError):
        return pa.array(values)  # a wider type of numbers


def _as(column: pa.ChunkedArray, kind: pa.DataType) -> pa.Array:
    try:
        return column.cast(kind)
    except (pa.ArrowException, NotImplementedError):
        return pa.nulls(len(column), kind)


def _not_utf8(count: int) -> pa.Array:
    """Text that claims to be UTF-8. Nothing checks it when a file is read."""
    content = pa.array([b"\xff\xfe"] * count, pa.binary())
    return pa.StringArray.from_buffers(count, content.buffers()[1], content.buffers()[2])
