"""Pickles of arrays, lists, dicts, numbers and text, read without running anything that they name.

Not even numpy's own reader: it believes what a file says about an array's type, and a forged type makes it follow addresses that
the file holds. Here an array is bytes, a shape and one of a few plain types.
"""

from __future__ import annotations

import pickle
import pickletools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from scenarios.base import DataError
from scenarios.parts.labels import integers

_PLAIN = re.compile(r"[<>|=]?[biuf][1248]")
"""Types of numbers, as numpy writes them: the order of bytes, the kind, and the bytes of each."""
_MEMO = ("PUT", "BINPUT", "LONG_BINPUT")
"""Opcodes that keep the last thing under a number."""


def read_array_pickle(file: Path) -> dict[str, Any]:
    """A pickled dict, its keys as text; other strings of a Python 2 pickle stay bytes. Arrays are read-only.

    Raises DataError if the file is truncated, damaged, not a dict, or asks for anything that is not data.
    """
    try:
        with file.open("rb") as stream:
            _check_memo(stream)
            stream.seek(0)
            # Python 2's strings as bytes: as text, the image data would be held once more.
            content = _ArraysOnlyUnpickler(stream, encoding="bytes").load()
    # Damaged bytes in the pickle machine can raise anything at all; each of them means the same to the user.
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise DataError(f"{file}: not a readable pickle, truncated or damaged ({reason})") from error
    if not isinstance(content, dict):
        raise DataError(f"{file}: holds a {type(content).__name__}, expected a dict")
    return {text_of(key): value.array if isinstance(value, _Array) else value for key, value in content.items()}


def read_image_pickle(
    file: Path, label_keys: Sequence[str], shape: tuple[int, int, int]
) -> tuple[NDArray[np.uint8], list[NDArray[np.int64]]]:
    """The images of a pickle as the CIFAR data sets have them, uint8 (N, *shape), and labels int64 (N,) for each key.

    Raises DataError as `read_array_pickle` does, and if a key is missing or images and labels are not of these types and sizes.
    """
    content = read_array_pickle(file)
    for key in ("data", *label_keys):
        if key not in content:
            raise DataError(f"{file}: has no `{key}`; it holds {', '.join(sorted(map(str, content))) or 'nothing'}")
    labels = [integers(content[key], f"{file}: {key}") for key in label_keys]
    images, count, pixels = content["data"], len(labels[0]), int(np.prod(shape))
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.shape != (count, pixels):
        found = f"{images.dtype} {images.shape}" if isinstance(images, np.ndarray) else type(images).__name__
        raise DataError(f"{file}: data is {found}, expected uint8 ({count}, {pixels})")
    return images.reshape(-1, *shape), labels


def text_of(name: object) -> str:
    """A string of either Python version as text."""
    return name.decode("latin1") if isinstance(name, bytes) else str(name)


def _check_memo(stream: IO[bytes]) -> None:
    """Raise UnpicklingError or ValueError if a pickle keeps something under a number that is larger than the pickle.

    The reader makes room for as many things as the number says, which can be more than there is memory.
    """
    for opcode, argument, place in pickletools.genops(stream):
        if opcode.name in _MEMO and isinstance(argument, int) and place is not None and argument > place:
            raise pickle.UnpicklingError(f"it keeps something as number {argument} of {place} bytes")


class _Type:
    """The type of an array's numbers. Its order of bytes comes with its state, of which nothing else is heard."""

    __slots__ = ("code",)

    def __init__(self, code: Any, *_: Any) -> None:
        self.code = text_of(code)

    def __setstate__(self, state: Sequence[Any]) -> None:
        self.code = text_of(state[1]) + self.code

    def plain(self) -> np.dtype[Any]:
        """The type for numpy. Raises UnpicklingError unless it is one of plain numbers."""
        if not _PLAIN.fullmatch(self.code):
            raise pickle.UnpicklingError(f"it holds an array of type {self.code[:20]}, which is no plain number")
        return np.dtype(self.code)


class _Array:
    """An array: empty when it is made, filled by its state."""

    __slots__ = ("array",)

    def __init__(self, *_: Any) -> None:
        self.array: NDArray[Any] = np.empty(0, np.uint8)

    def __setstate__(self, state: Sequence[Any]) -> None:
        shape, kind, by_columns, content = state[-4:]
        self.array = _filled(content, kind, shape, "F" if by_columns else "C")


def _of_buffer(content: Any, kind: Any, shape: Any, order: Any, *_: Any) -> _Array:
    """An array as newer pickles have it: in one call."""
    made = _Array()
    made.array = _filled(content, kind, shape, text_of(order))
    return made


def _filled(content: Any, kind: Any, shape: Any, order: str) -> NDArray[Any]:
    """The array of these bytes. Raises UnpicklingError, ValueError, TypeError if they are not of the type and the shape."""
    if not isinstance(content, bytes | bytearray) or not isinstance(kind, _Type) or order not in ("C", "F"):
        raise pickle.UnpicklingError("it holds an array of something else than plain numbers")
    if any(size < 0 for size in shape):
        raise pickle.UnpicklingError(f"it holds an array of shape {shape}")
    flat = np.frombuffer(bytes(content) if isinstance(content, bytearray) else content, kind.plain())
    return flat.reshape(shape, order="C" if order == "C" else "F")


def _encode_latin1(text: str, encoding: str) -> bytes:
    # Python 3 writes bytes at protocol 2 as a call of _codecs.encode(text, "latin1"); no other codec is needed.
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the encoding {encoding}")
    return text.encode("latin1")


class _Admitted:
    """The thing that a name stands for in a pickle. It can be called and nothing else: a pickle may also set what it names."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make

    def __call__(self, *arguments: Any) -> Any:
        return self._make(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("it changes what it names, which is not data")


class _ArraysOnlyUnpickler(pickle.Unpickler):
    """Admits the few names that pickled arrays need. They are looked up in a table, so nothing is ever imported."""

    def find_class(self, module: str, name: str) -> Any:
        # numpy 2 moved numpy.core to numpy._core; a file names the one that wrote it.
        key = (module.replace("numpy._core", "numpy.core"), name)
        if key not in _ADMITTED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not data")
        return _ADMITTED[key]


_ADMITTED = {
    ("numpy.core.multiarray", "_reconstruct"): _Admitted(_Array),
    ("numpy.core.numeric", "_frombuffer"): _Admitted(_of_buffer),
    ("numpy", "ndarray"): _Admitted(_Array),
    ("numpy", "dtype"): _Admitted(_Type),
    ("_codecs", "encode"): _Admitted(_encode_latin1),
}
