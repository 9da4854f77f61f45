"""A watch over a process in which a method learns: it notes the files, loaders and connections that the method reaches for.

It is an audit hook of Python (PEP 578), so it sees every `open` of Python code in the process, whoever calls it, and the known
readers in C (`confined/readers.py`). Data that stands in code is weighed. It does not see other C code, or memory that is shared
by other means. The statistics of `test_like_validation` are there for those.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmark.evaluating.inspection.code_files import data_in_code, is_about_packages, is_code, package_folders

FILES, DATA_FILES, LOADERS, CONNECTIONS, PROCESSES = "files", "data files", "loaders", "connections", "processes"
DATA_IN_CODE = "data in code"
"""Kinds of things that a method reaches for."""

MOST = 20
"""Things of a kind that are noted by name."""

_SYSTEM = ("/proc/", "/sys/", "/dev/", "/etc/", "/usr/lib/", "/usr/share/", "/lib/")
_FOREIGN_MEMORY = ("/dev/shm/", "/proc/self/mem", "/proc/kcore", "/dev/mem")
_CONNECTS = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "urllib.Request", "ftplib.connect")
_STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty")
LOADED = "scenarios.load"
"""The audit event that a scenario raises when it reads its images."""


@dataclass
class Watch:
    """The notes of one process.

    apart: True if the process holds no test image.
    places: folders whose files are those of data sets.
    noted: by kind, the things that were reached for, each once, in order.
    """

    apart: bool = False
    places: tuple[str, ...] = ()
    noted: dict[str, list[str]] = field(default_factory=dict)
    _written: set[str] = field(default_factory=set)
    _code: set[str] = field(default_factory=set)
    _deep: threading.local = field(default_factory=threading.local)
    _watching: int = 0

    @classmethod
    def none(cls) -> Watch:
        """A watch that sees nothing, in a process that holds the test images."""
        return cls()

    @classmethod
    def of_this_process(cls, places: tuple[str, ...] = (), plug_in: Path | None = None) -> Watch:
        """Watch this process from now on, until it ends: Python offers no way to take an audit hook out.

        plug_in: the file of the method.
        """
        watch = cls(apart=True, places=places)
        if plug_in is not None:
            watch._code.add(os.path.realpath(plug_in))
        sys.addaudithook(watch._heard)
        return watch

    @contextmanager
    def reaching(self) -> Iterator[None]:
        """The method has the word inside the block: in all threads, everything it reaches for is noted."""
        self._watching += 1
        try:
            yield
        finally:
            self._watching -= 1

    @contextmanager
    def harness(self) -> Iterator[None]:
        """The harness has the word inside the block, in this thread: it opens files on the method's behalf."""
        self._deep.count = self._in_harness() + 1
        try:
            yield
        finally:
            self._deep.count -= 1

    def taken(self) -> dict[str, list[str]]:
        """The notes so far, which are then forgotten."""
        if self.apart:
            with self.harness():
                for path, count in data_in_code(self._code).items():
                    self.note(DATA_IN_CODE, f"{path} ({count:,} bytes)")
        noted, self.noted = self.noted, {}
        return noted

    def _in_harness(self) -> int:
        return getattr(self._deep, "count", 0)

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._watching or self._in_harness():
            return
        if event == "open":
            self._opened(arguments)
        elif event in ("os.rename", "os.link"):
            self._moved(arguments)
        elif event == LOADED:
            self.note(LOADERS, str(arguments[0]))
        elif event in _CONNECTS:
            self._connected(event, arguments)
        elif event in _STARTS:
            self.note(PROCESSES, event)

    def _opened(self, arguments: tuple[Any, ...]) -> None:
        path = _as_path(arguments[0])
        if path is None:
            return
        if self.places and path.startswith(self.places) and not is_code(path):
            self.note(DATA_FILES, path)
            return
        if is_harmless(path):
            if path.endswith((".py", ".pyc")):
                self._code.add(path)
            return
        mode, flags = (arguments[1] or "") if len(arguments) > 1 else "", arguments[2] if len(arguments) > 2 else 0
        if set(str(mode)) & set("wx") or (isinstance(flags, int) and _begins_empty(flags)):
            self._written.add(path)
        elif path not in self._written and os.path.isfile(path):
            self.note(FILES, path)

    def _moved(self, arguments: tuple[Any, ...]) -> None:
        """A file under another name: its content is the method's own only if it was before."""
        source, target = (_as_path(each) for each in arguments[:2])
        if source is None or target is None:
            return
        if source in self._written:
            self._written.add(target)
        else:
            self._written.discard(target)
            self._opened((source,))

    def _connected(self, event: str, arguments: tuple[Any, ...]) -> None:
        # A socket's address is (host, port), or a path for sockets of this machine.
        address = next((item for item in arguments if isinstance(item, tuple | str | bytes)), "")
        self.note(CONNECTIONS, f"{event} {address!r}"[:200])

    def note(self, kind: str, name: str) -> None:
        """Note a thing that was reached for, unless `MOST` of its kind are noted. kind: `files`, `loaders` ..."""
        known = self.noted.setdefault(kind, [])
        if name not in known and len(known) < MOST:
            known.append(name)


def _begins_empty(flags: int) -> bool:
    """True if a file that is opened with these flags is empty then. O_EXCL says so only of a file that is made."""
    return bool(flags & os.O_TRUNC) or flags & (os.O_CREAT | os.O_EXCL) == os.O_CREAT | os.O_EXCL


def _as_path(given: Any) -> str | None:
    """The absolute path without links; None for a descriptor that is open already."""
    if isinstance(given, int):
        return None
    try:
        return os.path.realpath(os.fsdecode(given))
    except (TypeError, ValueError):
        return repr(given)


def is_harmless(path: str) -> bool:
    """True for code, for what packages say of themselves, and for places of the system that hold no images.

    path: absolute, without links.
    """
    if path.startswith(_FOREIGN_MEMORY) or (path.startswith("/proc/") and path.endswith("/mem")):
        return False
    if is_code(path) or is_about_packages(path):
        return True
    return path.startswith(_SYSTEM) and not path.startswith(package_folders())


def data_places(root: Path | None) -> tuple[str, ...]:
    """Folders whose files are data sets wherever they are read from: the root of the data, and those that packages ship."""
    shipped = [os.path.join(place, *parts) for place in package_folders() for parts in (("sklearn", "datasets"),)]
    return (*shipped, *([os.path.realpath(root)] if root else []))
