"""Decoded images on disk, so that a data set is decoded once per machine.

One entry is one task: four `.npy` files and a manifest with their SHA-256, in a folder named by their source. An entry is written
under a temporary name and renamed, and verified whenever it is read: a damaged one is made again, never trusted. The cache may be
deleted at any time; nothing else lives in it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenarios.base import DataError, RawTask
from scenarios.placement import cache_folder

# Raised whenever the same source files would be decoded to other arrays, or the layout of an entry changes.
CACHE_VERSION = 1


class CacheWarning(UserWarning):
    """The cache of decoded images could not be used; the images are decoded again."""


@dataclass(frozen=True, slots=True)
class DecodedTask:
    """The images and labels of one task, in any order.

    train_images, test_images: uint8 (N, C, H, W).
    train_labels, test_labels: int64 (N,), 0..classes-1.
    """

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]

    def to_raw(self, name: str, classes: tuple[str, ...]) -> RawTask:
        """The task under its name, with the names of its classes."""
        return RawTask(name, classes, self.train_images, self.train_labels, self.test_images, self.test_labels)


_ARRAYS = tuple(field.name for field in fields(DecodedTask))


def source_key(reader: str, root: Path, files: Iterable[Path], options: Mapping[str, object]) -> str:
    """A name for the source of a decoded task, 32 hex digits: over reader, absolute path, options, each file's size and mtime.

    reader: the kind of reader.
    root: the folder that file names are relative to.
    files: all that decide the images.
    options: all else that decides them, as JSON.

    Raises DataError if a file cannot be read.
    """
    digest = hashlib.sha256()
    digest.update(json.dumps([CACHE_VERSION, reader, str(root.resolve()), dict(options)], sort_keys=True).encode())
    for file in sorted(files):
        try:
            status = file.stat()
        except OSError as error:
            raise DataError(f"{file}: cannot be read ({error.strerror})") from error
        digest.update(f"\n{os.path.relpath(file, root)}\0{status.st_size}\0{status.st_mtime_ns}".encode())
    return digest.hexdigest()[:32]


def load_or_decode(
    keys: Mapping[str, str], decode: Callable[[Sequence[str]], Mapping[str, DecodedTask]]
) -> dict[str, DecodedTask]:
    """Decoded tasks by name, from the cache if it has them.

    keys: task name → its `source_key`.
    decode: names of tasks that the cache lacks, all at once → these tasks, so that a source is read only once.
    """
    cache = DecodedCache(cache_folder() / "decoded")
    found = {name: task for name, key in keys.items() if (task := cache.load(key)) is not None}
    lacking = [name for name in keys if name not in found]
    if lacking:
        decoded = decode(lacking)
        for name in lacking:
            found[name] = decoded[name]
            cache.store(keys[name], decoded[name])
    return found


class DecodedCache:
    """Entries below one folder. Trouble with the disk costs the cache and one warning, never a run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writable = True

    def load(self, key: str) -> DecodedTask | None:
        """The entry of that key, or None if there is none or it is damaged (which warns and removes it)."""
        entry = self.folder / key
        if not os.path.lexists(entry):
            return None
        try:
            sums = json.loads((entry / "manifest.json").read_text())
            return DecodedTask(**{name: _load_verified(entry / f"{name}.npy", sums[name]) for name in _ARRAYS})
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = (str(error).splitlines() or [""])[0]
            _warn(f"the decoded images in {entry} are damaged ({reason}); they are decoded again")
            self._remove(entry)
            return None

    def store(self, key: str, task: DecodedTask) -> None:
        """Write an entry whole, then rename it into place. If another process was faster, its entry stays."""
        if not self._writable:
            return
        entry, half = self.folder / key, self.folder / f".{key}.{uuid.uuid4().hex}"
        try:
            half.mkdir(parents=True)
            for name in _ARRAYS:
                np.save(half / f"{name}.npy", getattr(task, name), allow_pickle=False)
            sums = {name: _file_sum(half / f"{name}.npy") for name in _ARRAYS}
            (half / "manifest.json").write_text(json.dumps(sums, indent=1))
            if not entry.exists():
                half.rename(entry)
        except OSError as error:
            if not entry.exists():
                self._writable = False  # one warning, not one per task
                _warn(f"decoded images cannot be kept in {self.folder} ({error.strerror}); set CONTINUAL_CACHE")
        finally:
            shutil.rmtree(half, ignore_errors=True)

    def _remove(self, entry: Path) -> None:
        # Renamed first: another process must never meet an entry that is half deleted.
        aside = entry.with_name(f".{entry.name}.damaged-{uuid.uuid4().hex}")
        try:
            entry.rename(aside)
        except OSError:
            return
        if aside.is_dir() and not aside.is_symlink():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.unlink(missing_ok=True)


def _load_verified(file: Path, expected: str) -> NDArray[Any]:
    # The sum is taken before numpy parses anything, so a damaged header cannot ask for absurd amounts of memory.
    if _file_sum(file) != expected:
        raise ValueError(f"{file.name} has another SHA-256 than when it was written")
    # Mapped, so that images are held once, where they are used; copied on write, so that nobody changes the cache.
    array: NDArray[Any] = np.asarray(np.load(file, mmap_mode="c", allow_pickle=False))
    return array


def _file_sum(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _warn(message: str) -> None:
    warnings.warn(message, CacheWarning, stacklevel=4)
