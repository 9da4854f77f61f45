"""Labels of images from a text file, as TinyImageNet has them for its validation images."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

from scenarios.base import DataError
from scenarios.parts.data_location import visible_entries

_NAME = re.compile(r"(?:.+[_-])?(?:annotations?|labels?)\.(?:txt|csv|tsv)", re.IGNORECASE)
_HEADERS = ("file", "filename", "file_name", "image", "path", "name")


def annotations_file(folder: Path) -> Path | None:
    """The one file of `folder` whose name says that it holds labels, such as `val_annotations.txt` or `labels.csv`.

    Raises DataError if there are several.
    """
    found = [entry for entry in visible_entries(folder) if _NAME.fullmatch(entry.name) and entry.is_file()]
    if len(found) > 1:
        raise DataError(f"{folder}: {found[0].name} and {found[1].name} may both hold the labels; leave one of them")
    return found[0] if found else None


def read_annotations(file: Path) -> dict[str, tuple[str, int]]:
    """The class name and the line of each file name, from lines that begin with the two.

    Columns end at a tab, else at a comma, else at white space; further ones, such as bounding boxes, are left out. A first line
    that names its columns is left out too. Raises DataError, one line with the place.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: not a readable text file ({error})") from error
    found: dict[str, tuple[str, int]] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        separator = next((each for each in ("\t", ",") if each in line), None)
        columns = [unicodedata.normalize("NFC", column.strip()) for column in line.split(separator)]
        if number == 1 and columns[0].lower() in _HEADERS:
            continue
        if len(columns) < 2 or not columns[0] or not columns[1]:
            raise DataError(
                f"{file}, line {number}: expected a file name and a class, separated by a tab, comma or space"
            )
        if columns[0] in found and found[columns[0]][0] != columns[1]:
            other, before = found[columns[0]]
            raise DataError(
                f"{file}, line {number}: {columns[0]} is {columns[1]}, but {other} in line {before}; give it one class"
            )
        found.setdefault(columns[0], (columns[1], number))
    if not found:
        raise DataError(f"{file}: is empty; expected lines of a file name and a class")
    return found
