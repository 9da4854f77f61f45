"""Cases that are almost valid: bytes of a file with a few changed, values with a few others inside (not itself a test)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

ODD_BYTES = [b"", b"\0", b"\xff", b"\0" * 8, b"\xff" * 8, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80", b"A" * 64]
ODD_TEXT = [
    *("", " ", "\0", "a\nb", "\x1b[31m", "x" * 300, "\U0001f600", "\ud800", "\u202e", "é", "e\u0301"),
    *(
        "..",
        "../../../up",
        "/tmp/elsewhere",
        "a/b",
        "-",
        "--help",
        "~",
        "$HOME",
        "NaN",
        "inf",
        "null",
        "{}",
        "%s",
        "<b>",
    ),
    *("1/0", "0/1", "-1/255", "1e400", "8/255 ", "eps/0", "1/" + "9" * 50),
]
ODD_NUMBERS = [0, 1, -1, 2, 255, 2**15, 2**31, 2**63, -(2**63), 2**64, 10**30, 0.0, -0.0, 0.5, 1e-320, 1e308, -1e308]
NOT_FINITE = [float("nan"), float("inf"), float("-inf")]
_SCALARS = st.one_of(
    st.sampled_from([None, True, False]),
    st.sampled_from(ODD_NUMBERS),
    st.sampled_from(NOT_FINITE),
    st.sampled_from(ODD_TEXT),
    st.integers(-3, 300),
    st.text(max_size=6),
)
ODD: SearchStrategy[Any] = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
"""Values of JSON that are rarely right."""

Change = Callable[[bytes], bytes]


def near_bytes(content: bytes, most: int = 4) -> SearchStrategy[bytes]:
    """The content of a file after up to `most` changes: bytes overwritten, put in, taken out, repeated, or the end cut off."""
    place = st.floats(0, 1, exclude_max=True)
    odd = st.sampled_from(ODD_BYTES) | st.binary(min_size=1, max_size=8)
    # Headers are at the beginning, and in parquet, zip and TIFF at the end.
    at = place | st.floats(0, 0.02) | st.floats(0.9, 1, exclude_max=True)
    change: SearchStrategy[Change] = st.one_of(
        st.builds(_overwritten, at, odd),
        st.builds(_overwritten, at, st.binary(min_size=1, max_size=1)),
        st.builds(_flipped, at, st.integers(0, 7)),
        st.builds(_put_in, at, odd),
        st.builds(_taken_out, at, st.integers(1, 64)),
        st.builds(_repeated, at, st.integers(1, 64)),
        st.builds(_cut, at),
    )

    def changed(changes: list[Change]) -> bytes:
        found = content
        for each in changes:
            found = each(found)
        return found

    return st.lists(change, min_size=1, max_size=most).map(changed)


def _overwritten(at: float, new: bytes) -> Change:
    return lambda old: old[: int(at * len(old))] + new + old[int(at * len(old)) + len(new) :]


def _flipped(at: float, bit: int) -> Change:
    def change(old: bytes) -> bytes:
        found = bytearray(old)
        if found:
            found[int(at * len(found))] ^= 1 << bit
        return bytes(found)

    return change


def _put_in(at: float, new: bytes) -> Change:
    return lambda old: old[: int(at * len(old))] + new + old[int(at * len(old)) :]


def _taken_out(at: float, count: int) -> Change:
    return lambda old: old[: int(at * len(old))] + old[int(at * len(old)) + count :]


def _repeated(at: float, count: int) -> Change:
    def change(old: bytes) -> bytes:
        start = int(at * len(old))
        return old[:start] + old[start : start + count] * 3 + old[start + count :]

    return change


def _cut(at: float) -> Change:
    return lambda old: old[: int(at * len(old))]


@st.composite
def near(draw: st.DrawFn, value: Any, most: int = 3) -> Any:
    """A value of JSON after up to `most` changes somewhere inside: another value, one taken out, put in or doubled."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, most))):
        places = list(_places(value))
        if not places:
            return draw(ODD)
        holder, key = draw(st.sampled_from(places))
        kind = draw(st.sampled_from(["other", "other", "other", "out", "in", "moved"]))
        if kind == "other":
            holder[key] = draw(ODD)
        elif kind == "out":
            del holder[key]
        elif kind == "moved":
            there, other = draw(st.sampled_from(places))
            if _holds(there, other):
                holder[key] = copy.deepcopy(there[other])
        elif isinstance(holder, list):
            holder.insert(key, draw(ODD))
        else:
            holder[draw(st.sampled_from(ODD_TEXT) | st.text(max_size=5))] = draw(ODD)
    return value


def _holds(holder: Any, key: Any) -> bool:
    return key in holder if isinstance(holder, dict) else key < len(holder)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (holder, key or index) inside a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in list(inner):
        yield value, key
        yield from _places(each)
