"""Files of runs on their way between machines: read whole, written whole, in the order in which they came to be."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmark.planning.stored_runs import task_checkpoints
from results.checkpoints import Checkpoints
from results.files import PARTIAL_SUFFIX, StoreError, whole_file
from results.merged import FOLDER as MERGED

MOST_BYTES = 32 * 2**20
"""Bytes of the files that travel together; one that is larger travels alone."""

_LEFT_AT_HOME = {MERGED, "running"}
"""Made anew wherever a run lies: merged tables, and the heartbeat of whoever works on it."""
_OLD = "set-aside"
"""Where a run keeps what was unreadable. It stays where it is; what is set aside on the way comes back."""


@dataclass(frozen=True, slots=True)
class File:
    """A file of a run.

    path: below the run's directory, with `/`.
    content: its bytes.
    changed: nanoseconds since the epoch; merged tables know their parts by it.
    """

    path: str
    content: bytes
    changed: int


@dataclass(frozen=True, slots=True)
class _Stamp:
    """The marks of one version of a file. Files are renamed into place, so another version is another inode."""

    changed: int
    size: int
    inode: int


def whole_run(directory: Path) -> list[File]:
    """The files of a run that is to be gone on with; empty if there is none."""
    paths = [path for path in _stamps(directory) if path.partition("/")[0] != _OLD]
    return _read(directory, paths)


def needed_run(directory: Path) -> list[File]:
    """The files of a run that another one needs: its records, and of its checkpoints the one after the last task."""
    paths = list(_stamps(directory))
    kept = [path for path in paths if "/" not in path or path.partition("/")[0] in ("facts", "training")]
    kept += [path for path in paths if path.partition("/")[0] in ("evaluations", "predictions")]
    if names := task_checkpoints(Checkpoints(directory / "checkpoints")):
        manifest = f"checkpoints/{names[-1]}.json"
        blobs = {f"checkpoints/blobs/{key}.safetensors" for key in _tensors(directory / manifest)}
        kept += [path for path in paths if path in blobs or path == manifest]
    return _read(directory, kept)


def _tensors(manifest: Path) -> list[str]:
    """The names of the blobs of a checkpoint; none if it is unreadable, which whoever needs it will be told."""
    try:
        return [str(key) for key in json.loads(manifest.read_text(encoding="utf-8"))["tensors"].values()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def put(directory: Path, files: Sequence[File]) -> None:
    """Write files into a run's directory, each whole and in order. Raises StoreError."""
    for file in files:
        with whole_file(_inside(directory, file.path)) as temporary:
            temporary.write_bytes(file.content)
            os.utime(temporary, ns=(file.changed, file.changed))


def remove(directory: Path, paths: Sequence[str]) -> None:
    """Delete files of a run that are gone where it is worked on. Raises StoreError."""
    for path in paths:
        _inside(directory, path).unlink(missing_ok=True)


def _inside(directory: Path, path: str) -> Path:
    """The place of a file below a directory. Raises StoreError if it would be elsewhere."""
    parts = path.split("/")
    if path.startswith("/") or any(part in ("", ".", "..") for part in parts):
        raise StoreError(f"{directory}: {path!r} came from another machine, and is no file of a run")
    return directory.joinpath(*parts)


class Outgoing:
    """The files of a run that is worked on, as they come to be.

    A run is only ever added to file by file, and later files rest on earlier ones: a checkpoint's manifest on its blobs, a row of
    evaluations on its predictions. Whatever is sent rests on nothing that was not sent, at any moment.

    directory: of the run, as whoever receives the files knows it.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._sent = _stamps(directory)

    def changes(self) -> tuple[list[File], list[str]]:
        """The files that are new since the last call, the oldest first, and those that are gone."""
        first = _stamps(self._directory)
        newest = max((stamp.changed for stamp in first.values()), default=0)
        # A listing takes a while: it may hold a file and lack an older one of another folder. The second lacks none of these.
        second = _stamps(self._directory)
        found = {path: stamp for path, stamp in second.items() if stamp.changed <= newest}
        new = [path for path, stamp in found.items() if self._sent.get(path) != stamp]
        files = _read(self._directory, sorted(new, key=lambda path: (found[path].changed, path)))
        # What was deleted had been replaced before.
        gone = [path for path in self._sent if path not in first and path not in second]
        self._sent = {path: stamp for path, stamp in self._sent.items() if path not in gone}
        self._sent |= {file.path: found[file.path] for file in files}
        return files, gone


def in_pieces(files: Sequence[File]) -> Iterator[list[File]]:
    """The files in their order, a few megabytes at a time."""
    piece: list[File] = []
    for file in files:
        if piece and sum(len(each.content) for each in piece) + len(file.content) > MOST_BYTES:
            yield piece
            piece = []
        piece.append(file)
    if piece:
        yield piece


def _stamps(directory: Path) -> dict[str, _Stamp]:
    """The files of a run that travel, by their paths."""
    found = {}
    for folder, folders, names in os.walk(directory):
        place = Path(folder).relative_to(directory)
        folders[:] = sorted(name for name in folders if place.parts or name not in _LEFT_AT_HOME)
        for name in sorted(names):
            if name.endswith(PARTIAL_SUFFIX) or (not place.parts and name in _LEFT_AT_HOME):
                continue
            with suppress(OSError):
                status = os.stat(os.path.join(folder, name))
                found[(place / name).as_posix()] = _Stamp(status.st_mtime_ns, status.st_size, status.st_ino)
    return found


def _read(directory: Path, paths: Sequence[str]) -> list[File]:
    """Files as they are now; one that was deleted meanwhile is left out."""
    files = []
    for path in paths:
        with suppress(FileNotFoundError), (directory / path).open("rb") as file:
            files.append(File(path, file.read(), os.fstat(file.fileno()).st_mtime_ns))
    return files
