"""Where data sets are looked for, and how a folder is described when what was sought is not in it."""

from __future__ import annotations

import os
from pathlib import Path

from scenarios.base import DataError, SourceOptions

DEFAULT_ROOT = Path("data")
ROOT_VARIABLE = "CONTINUAL_DATA"


def search_roots(source: SourceOptions) -> list[Path]:
    """The folders that may hold data sets, most specific first.

    `source.data_root` alone where it is given (what a user names is not second-guessed), else the folder that the
    environment variable CONTINUAL_DATA names, and `./data`.
    """
    if source.data_root is not None:
        return [Path(source.data_root).expanduser()]
    named = os.environ.get(ROOT_VARIABLE)
    return [Path(named).expanduser(), DEFAULT_ROOT] if named else [DEFAULT_ROOT]


def visible_entries(folder: Path) -> list[Path]:
    """What stands in a folder, sorted, without hidden files. Raises DataError if it cannot be listed."""
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror})") from error


def describe_folder(folder: Path, most: int = 6) -> str:
    """What stands in a folder, on one line: `data: holds a, b and 3 more` or `data: does not exist`."""
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
