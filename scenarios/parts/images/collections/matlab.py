"""MATLAB's .mat files, in which two of the collections keep their labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenarios.base import DataError


def read_mat(file: Path, variable: str) -> NDArray[Any]:
    """One variable of a .mat file with at least one axis. Raises DataError if it is not there or cannot be read."""
    from scipy.io import loadmat

    try:
        with file.open("rb") as stream:  # scipy does not say why a file cannot be opened
            content = loadmat(stream, squeeze_me=True)
    # Damaged bytes can raise anything at all in the parser; each of them means the same to the user.
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise DataError(f"{file}: not a readable .mat file, truncated or damaged ({reason})") from error
    if variable not in content:
        held = ", ".join(sorted(name for name in content if not name.startswith("__"))) or "nothing"
        raise DataError(f"{file}: has no variable {variable}; it has {held}")
    return np.atleast_1d(content[variable])


def read_numbers(file: Path, variable: str) -> list[int]:
    """As `read_mat`, whole numbers in a row. Raises DataError if they are something else."""
    values = read_mat(file, variable)
    if values.ndim != 1 or not _are_whole(values):
        raise DataError(f"{file}: {variable} is {values.dtype} {values.shape}, expected whole numbers in a row")
    return [int(value) for value in values]


def whole_number(value: Any, field: str, place: str) -> int:
    """The value of a field in a table. Raises DataError, at that place, unless it is one whole number."""
    number = np.asarray(value)
    if number.ndim or not _are_whole(number):
        raise DataError(f"{place}: {field} is {value}, expected a whole number")
    return int(number)


def _are_whole(values: NDArray[Any]) -> bool:
    kind = values.dtype.kind
    return kind in "iu" or (kind == "f" and bool((np.isfinite(values) & (values == np.floor(values))).all()))
