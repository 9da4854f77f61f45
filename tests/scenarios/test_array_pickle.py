"""Pickles of arrays: whatever numpy writes is read to the same numbers, and a forged file reaches nothing."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scenarios.base import DataError
from scenarios.parts.array_pickle import read_array_pickle

OBJECTS_COUNTED = 1
"""numpy's flag for values that are addresses of objects. Its own reader takes it from the file."""


class Reduced:
    """Pickled as a call of `function`, then as `state`."""

    def __init__(self, function: Any, arguments: tuple[Any, ...], *state: Any) -> None:
        self.reduced = (function, arguments, *state)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reduced


RECONSTRUCT = np.zeros(1, np.uint8).__reduce_ex__(2)[0]
PLAIN = (RECONSTRUCT, (np.ndarray, (0,), b"b"))
BYTES = Reduced(np.dtype, ("u1", False, True), (3, "|", None, None, None, -1, -1, 0))


def forged_type() -> Reduced:
    """A type of eight bytes that are the address of an object, where it says that they are none until it is cleared away."""
    fields = {"a": (np.dtype("O"), 0)}
    return Reduced(np.dtype, ("V8", False, True), (3, "|", None, ("a",), fields, 8, 1, OBJECTS_COUNTED))


FORGED: dict[str, Any] = {
    "addresses in a record": Reduced(*PLAIN, (1, (1,), forged_type(), False, b"A" * 8)),
    "an array of objects": np.array([{"a": 1}, None], dtype=object),
    "an array of records": np.zeros(2, dtype=[("a", "u1")]),
    "an array of text": np.array(["a", "b"]),
    "more numbers than there are bytes": Reduced(*PLAIN, (1, (2**40,), BYTES, False, b"AAAA")),
    "a negative size": Reduced(*PLAIN, (1, (-1, 2), BYTES, False, b"AAAA")),
    "a type that is none": Reduced(*PLAIN, (1, (4,), "u1", False, b"AAAA")),
    "a shape that is none": Reduced(*PLAIN, (1, 4, BYTES, False, b"AAAA")),
    "another codec": Reduced(__import__("_codecs").encode, ("abc", "rot13")),
}


def written(folder: Path, content: Any, protocol: int = 2) -> Path:
    (folder / "file").write_bytes(pickle.dumps(content, protocol))
    return folder / "file"


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", ["u1", "i1", "<i4", ">i4", "<f4", ">f8", "?", "<u8"])
def test_arrays_of_plain_numbers_are_read_as_they_were(tmp_path: Path, kind: str, protocol: int) -> None:
    array = np.arange(24).reshape(2, 3, 4).astype(kind)
    for each in (array, np.asfortranarray(array), array[:, ::2], array[0, 0, 0:1]):
        found = read_array_pickle(written(tmp_path, {"data": each, "labels": [1, 2], "name": b"x"}, protocol))
        assert (found["data"].dtype, found["labels"], found["name"]) == (np.dtype(kind), [1, 2], b"x")
        assert np.array_equal(found["data"], each)


@pytest.mark.parametrize("what", FORGED)
def test_a_forged_array_is_refused_in_a_line(tmp_path: Path, what: str) -> None:
    """With numpy's own reader the first one ends the process: it follows an address from the file."""
    for protocol in (2, pickle.HIGHEST_PROTOCOL):
        with pytest.raises(DataError, match=rf"^{tmp_path}/file: not a readable pickle, truncated or damaged \(.+\)$"):
            read_array_pickle(written(tmp_path, {"data": FORGED[what]}, protocol))


@pytest.mark.parametrize("module_and_name", ["numpy\ndtype", "numpy\nndarray", "_codecs\nencode"])
@pytest.mark.parametrize("state", [b"}U\x03abcK\x01s", b"N}U\x0c__defaults__N" + b"s\x86"])
def test_what_a_pickle_names_cannot_be_changed_by_it(tmp_path: Path, module_and_name: str, state: bytes) -> None:
    """The opcodes are `c` to name a thing and `b` to set its attributes; without care they stay set for the next file."""
    (tmp_path / "file").write_bytes(b"\x80\x02c" + module_and_name.encode() + b"\n" + state + b"b.")
    with pytest.raises(DataError, match="it changes what it names, which is not data"):
        read_array_pickle(tmp_path / "file")


@pytest.mark.parametrize("kept", [b"r\xff\xff\xff\x7f", b"p2000000000\n", b"q\xff"])
def test_a_few_bytes_cannot_ask_for_all_the_memory(tmp_path: Path, kept: bytes) -> None:
    """Python's reader makes room for two thousand million things if one is kept under that number."""
    (tmp_path / "file").write_bytes(b"\x80\x02}" + kept + b".")
    with pytest.raises(DataError, match=r"it keeps something as number [0-9]+ of 3 bytes"):
        read_array_pickle(tmp_path / "file")
