"""Files that are there whole or not at all: written beside their place, then renamed into it."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

PARTIAL_SUFFIX = ".partial"


class StoreError(Exception):
    """Stored results cannot be read or written; the message is one line that names the file."""


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text. NaN and infinities are refused (ValueError)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON, 64 hex digits."""
    return sha256(canonical_json(value).encode()).hexdigest()


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what was written there takes its place at the end, unless an error came first.

    Raises StoreError, naming the file, if it cannot be written: a full disk, a folder of somebody else's. What was stored there
    stays as it was.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PARTIAL_SUFFIX)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        # mkstemp makes files private to the user; records are meant to be read and merged like any other file.
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        # Libraries name the temporary file, or none; a folder that is in the way is named by the error.
        where = error.filename if temporary is None and error.filename else path
        reason = (error.strerror or str(error) or type(error).__name__).splitlines()[0]
        raise StoreError(f"{where}: cannot be written ({reason})") from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def require_place(path: Path) -> None:
    """Raise StoreError unless a file can be written at `path`: nobody works for hours for a file that cannot. Nothing is made."""
    if path.is_dir():
        raise StoreError(f"{path}: cannot be written (it is a folder; name a file)")
    require_folder(path.parent)


def require_folder(folder: Path) -> None:
    """Raise StoreError unless files can be written in `folder`, which may still have to be made. Nothing is made."""
    there = next((path for path in (folder, *folder.parents) if path.exists()), folder)
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise StoreError(f"{folder}: cannot be written ({error.strerror})") from error


def in_place_of_data(path: Path) -> str:
    """A line on what a download left where data should be: a web page, a pointer of Git LFS; empty for anything else."""
    try:
        with path.open("rb") as file:
            begin = file.read(512).removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    except OSError:
        return ""
    if begin.startswith((b"<!doctype", b"<html", b"<head", b"<?xml")):
        return f"{path}: is a web page, not the file that its address stands for; download the file itself"
    if begin.startswith(b"version https://git-lfs"):
        return f"{path}: is a pointer of Git LFS, not the file; `git lfs pull` fetches it"
    return ""


def write_text(path: Path, text: str) -> None:
    """Write a whole file of text: UTF-8, lines end as they do in `text`."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Raises StoreError, naming the file, if it is not whole JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        # Brackets in brackets without end make the last one.
        raise StoreError(f"{path}: not readable as JSON ({error})") from error
