"""Folders for as long as a process lives: what a killed one left is cleared away by whoever makes the next on this machine."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

JOB, CLUSTER = "job-", "ray-"
"""Beginnings of the names of folders: of a job on its node, and of a cluster that is started here."""

_LONGEST = 9
"""Letters of the folder of temporary files, at most: a socket's path has 107, of which Ray takes up to 69, and our names 29."""
_DOOR, _HELD = ".door", ".held"
_SECONDS_OF_A_WAIT = 0.1


@contextmanager
def own_folder(kind: str) -> Iterator[Path]:
    """A folder for this process alone, gone at the end of the block. kind: `JOB` or `CLUSTER`. Raises OSError."""
    with ExitStack() as held:
        with _cleared() as place:
            folder = Path(tempfile.mkdtemp(dir=place, prefix=kind))
            held.callback(shutil.rmtree, folder, ignore_errors=True)
            # A lock ends with its process, however that ends.
            fcntl.flock(held.enter_context((folder / _HELD).open("a")), fcntl.LOCK_EX)
        yield folder


def clear_folders(seconds: float) -> None:
    """Clear away the folders of jobs on this machine whose processes are just ending: wait for that so many seconds at most."""
    until = time.monotonic() + seconds
    with suppress(OSError):
        while True:
            with _cleared() as place:
                if not any(place.glob(f"{JOB}*")) or time.monotonic() > until:
                    return
            time.sleep(_SECONDS_OF_A_WAIT)


@contextmanager
def _cleared() -> Iterator[Path]:
    """The place of all folders, without those that nobody holds. Inside the block nobody else makes any."""
    usual = tempfile.gettempdir()
    short = usual if len(usual) <= _LONGEST or not os.access("/tmp", os.W_OK) else "/tmp"
    place = Path(short) / f"cab-ray-{os.getuid()}"
    place.mkdir(mode=0o700, exist_ok=True)
    if place.lstat().st_uid != os.getuid():
        raise PermissionError(13, "belongs to somebody else", str(place))
    # One after another, so that nobody takes a folder that is just being made for one that was left.
    with (place / _DOOR).open("a") as door:
        fcntl.flock(door, fcntl.LOCK_EX)
        for left in place.glob("*/"):
            with suppress(OSError), (left / _HELD).open("a") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
        yield place
