"""The folders in which data sets are searched, and the description of a folder that does not hold them."""

from __future__ import annotations

import os
from pathlib import Path

from scenarios.base import DataError, SourceOptions

DEFAULT_ROOT = Path("data")
ROOT_VARIABLE = "CONTINUAL_DATA"


def search_roots(source: SourceOptions) -> list[Path]:
    """The folders that may hold data sets, most specific first.

    `source.data_root` alone if it is given: a user who names a folder means no other. Else the folder that the environment
    variable CONTINUAL_DATA names, and `./data`. Raises DataError if a folder begins with `~` and a user who is not known.
    """
    if source.data_root is not None:
        return [_expanded(source.data_root)]
    named = os.environ.get(ROOT_VARIABLE)
    return [_expanded(named), DEFAULT_ROOT] if named else [DEFAULT_ROOT]


def _expanded(folder: str | Path) -> Path:
    try:
        return Path(folder).expanduser()
    except RuntimeError as error:  # so pathlib says that there is no such user
        raise DataError(
            f"{folder}: the home folder of {Path(folder).parts[0]} is not known; write the whole path"
        ) from error


_LEFT_BEHIND = frozenset({"__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "lost+found"})
"""Entries that operating systems and archives leave in folders."""


def is_visible(name: str) -> bool:
    """True if an entry of this name is somebody's data, and neither hidden nor left behind by an operating system."""
    return not name.startswith(".") and name.casefold() not in _LEFT_BEHIND


def visible_entries(folder: Path) -> list[Path]:
    """The entries of a folder that are visible (`is_visible`), sorted. Raises DataError if it cannot be listed."""
    try:
        return sorted(check_name(entry) for entry in folder.iterdir() if is_visible(entry.name))
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror})") from error


def check_name(path: Path) -> Path:
    """The path. Raises DataError if its name is no text, as on disks of old computers: no record could name a class by it."""
    try:
        path.name.encode()
    except UnicodeEncodeError:
        raise DataError(f"{path.parent}: holds a name that is no UTF-8 text, {path.name!r}; rename it") from None
    return path


def describe_folder(folder: Path, most: int = 6) -> str:
    """The content of a folder on one line: `data: holds a, b and 3 more` or `data: does not exist`. most: entries named."""
    try:
        if not folder.exists():
            return f"{folder}: does not exist"
        if not folder.is_dir():
            return f"{folder}: is a file"
        entries = [entry.name for entry in visible_entries(folder)]
    except (OSError, DataError) as error:
        return str(error)
    if not entries:
        return f"{folder}: is empty"
    rest = f" and {len(entries) - most} more" if len(entries) > most else ""
    return f"{folder}: holds {', '.join(entries[:most])}{rest}"
