"""Pickles of arrays, lists, dicts, numbers and text, read without running anything that they name."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenarios.base import DataError
from scenarios.parts.labels import integers


def read_array_pickle(file: Path) -> dict[str, Any]:
    """A pickled dict, its keys as text; other strings of a Python 2 pickle stay bytes.

    Raises DataError if the file is truncated, damaged, not a dict, or asks for anything that is not data.
    """
    try:
        with file.open("rb") as stream:
            # Python 2's strings as bytes: as text, the image data would be held once more.
            content = _ArraysOnlyUnpickler(stream, encoding="bytes").load()
    # Damaged bytes in the pickle machine can raise anything at all; each of them means the same to the user.
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise DataError(f"{file}: not a readable pickle, truncated or damaged ({reason})") from error
    if not isinstance(content, dict):
        raise DataError(f"{file}: holds a {type(content).__name__}, expected a dict")
    return {text_of(key): value for key, value in content.items()}


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


class _ArraysOnlyUnpickler(pickle.Unpickler):
    """Admits the few names that pickled arrays need. They are looked up in a table, so nothing is ever imported."""

    def find_class(self, module: str, name: str) -> Any:
        # numpy 2 moved numpy.core to numpy._core; a file names the one that wrote it.
        key = (module.replace("numpy._core", "numpy.core"), name)
        if key not in _ADMITTED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not data")
        return _ADMITTED[key]


def _encode_latin1(text: str, encoding: str) -> bytes:
    # Python 3 writes bytes at protocol 2 as a call of _codecs.encode(text, "latin1"); no other codec is needed.
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the encoding {encoding}")
    return text.encode("latin1")


_SAMPLE = np.zeros(1, np.uint8)
_ADMITTED: dict[tuple[str, str], Any] = {
    # numpy keeps both functions private, but an array's own reduction names them.
    ("numpy.core.multiarray", "_reconstruct"): _SAMPLE.__reduce_ex__(2)[0],
    ("numpy.core.numeric", "_frombuffer"): _SAMPLE.__reduce_ex__(5)[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _encode_latin1,
}
