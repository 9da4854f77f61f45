"""The confinement of a fresh process: once it is switched on, nothing can be read there but Python code.

It is an audit hook of Python (PEP 578): it refuses what Python code in the process reaches for, whoever calls it, and keeps a
list. Readers in C that tell Python nothing are wrapped where they are known (`readers`), and refused by the kernel where it is
Linux with Landlock (`landlock`).

It cannot stop
- code that searches the memory of its own process for the hook (frames, closures, ctypes through a library that is loaded);
- C extensions that open files or connections, where there is no Landlock; a state in the names, sizes or times of files;
- anything that stands in the plug-in's own file, which the run's identity holds by its hash.
"""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmark.learning.confined import landlock, readers
from benchmark.learning.confined.places import Places, loaded_files

MOST = 20
"""Things that are noted by name."""

_KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "SYSTEMROOT", "CUDA_VISIBLE_DEVICES")
_KEPT_PREFIXES = ("OMP_", "MKL_", "OPENBLAS_", "KMP_", "CUBLAS_", "NVIDIA_")

_STARTS = (
    "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "os.startfile",
    "pty.spawn", "cpython.PyInterpreterState_New",
)  # fmt: skip
_MOVES = (
    "os.rename", "os.link", "os.symlink", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod", "os.chown",
    "os.utime", "os.getxattr", "os.listxattr", "os.setxattr", "os.removexattr",
)  # fmt: skip
_SEARCHES = ("gc.get_objects", "gc.get_referrers", "gc.get_referents")
_FOREIGN = ("sqlite3.connect", "ctypes.dlopen", "ctypes.dlsym", "webbrowser.open", "winreg.OpenKey")
_NO_IMPORTS = frozenset({"_xxsubinterpreters", "_interpreters"})
"""Modules whose interpreters have no hook."""
_NO_LATE_IMPORTS = frozenset(
    {"_ctypes", "_sqlite3", "_dbm", "_gdbm", "lmdb", "h5py", "cv2", "tables", "netCDF4", "polars", "duckdb"}
)
"""Modules that read files in C, unless they are there when classifiers begin to answer."""


class CannotConfine(Exception):
    """This machine offers no confinement; the message says what is missing."""


@dataclass(frozen=True)
class Confinement:
    """A confinement that is in force, until the process ends.

    means: what it is made of, in words.
    answering: from now on only code can be read, not the files of installed packages either.
    reached: what was refused so far, in order, each once.
    missing: files that were looked for in the process' own folder, where nobody had put them.
    """

    means: str
    answering: Callable[[], None]
    reached: Callable[[], tuple[str, ...]]
    missing: Callable[[], tuple[str, ...]]


def confine(began: float, own: Sequence[str], data: Sequence[str], witness: str, folder: str) -> Confinement:
    """Confine this process. It goes on in an empty folder, with an environment of a few variables.

    began: seconds since the epoch; no file younger than this is code.
    own: plug-in files, which the identity of the run holds by their hash, however young they are.
    data: folders of data sets, where nothing is read.
    witness: a file that exists and is none of what may be read, to try the confinement out.
    folder: an empty one, for this process alone.
    Raises CannotConfine if the file can be read all the same.
    """
    folder = os.path.realpath(folder)
    places = Places(began, tuple(os.path.realpath(path) for path in own), loaded_files(), tuple(data), folder)
    os.chdir(folder)
    _shrink_environment(folder)
    sys.dont_write_bytecode = True
    tempfile.tempdir = folder
    readers.wrap()
    by_kernel = landlock.restrict(places.readable_folders(), places.readable_files(), folder)
    hook = _Hook(places)
    sys.addaudithook(hook.heard)
    try:
        with open(witness, "rb"):
            raise CannotConfine("Python's audit hooks are not heard here")
    except PermissionError:
        hook.tried.clear()
    means = "an audit hook and Landlock" if by_kernel else "an audit hook"
    return Confinement(means, hook.answer, lambda: tuple(hook.tried), lambda: tuple(hook.missing))


def _shrink_environment(folder: str) -> None:
    kept: Mapping[str, str] = {
        name: value for name, value in os.environ.items() if name in _KEPT_VARIABLES or name.startswith(_KEPT_PREFIXES)
    }
    os.environ.clear()
    os.environ.update(kept)
    os.environ.update(dict.fromkeys(("HOME", "TMPDIR"), folder))


@dataclass
class _Hook:
    """The knowledge of the audit hook.

    tried: what was refused.
    missing: what is not in the process' own folder, and was looked for there.
    late: True once classifiers answer.
    """

    places: Places
    tried: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    late: bool = False
    _busy: threading.local = field(default_factory=threading.local)

    def answer(self) -> None:
        self.late = True

    def heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if getattr(self._busy, "now", False):
            return
        self._busy.now = True
        try:
            refused = self._refused(event, arguments)
            if refused is None:
                return
            name, noted = refused
            if noted and name not in self.tried and len(self.tried) < MOST:
                self.tried.append(name)
        finally:
            self._busy.now = False
        raise PermissionError(errno.EACCES, "out of reach of a classifier that is made anew", name)

    def _refused(self, event: str, arguments: tuple[Any, ...]) -> tuple[str, bool] | None:
        """The name of what is refused, and True if it is noted; None if it is allowed."""
        if event == "open":
            return self._opened(*arguments[:3])
        if event in ("os.listdir", "os.scandir"):
            path = self.places.absolute(arguments[0] if arguments[0] is not None else ".")
            return None if path is not None and self.places.may_list(path) else (f"the folder {path}", True)
        if event == "import":
            forbidden = _NO_IMPORTS | (_NO_LATE_IMPORTS if self.late else frozenset())
            return (f"the module {arguments[0]}", True) if arguments[0] in forbidden else None
        if event == "mmap.__new__":
            return None if arguments[0] == -1 else ("a file mapped into memory", True)
        if event in _MOVES:
            paths = [self.places.absolute(each) for each in arguments if isinstance(each, str | bytes)]
            outside = [path for path in paths if path is None or not self.places.is_private(path)]
            return (f"{outside[0]} ({event})", True) if outside else None
        if event.startswith("socket.") and event not in ("socket.__new__", "socket.gethostname"):
            return f"a connection ({event})", True
        if event in _STARTS:
            return f"a process ({event})", True
        if event in _SEARCHES or (event in _FOREIGN and self._is_foreign(event, arguments)):
            return f"{event} {arguments[0]!r}"[:200] if arguments else event, True
        return None

    def _is_foreign(self, event: str, arguments: tuple[Any, ...]) -> bool:
        """True unless a library of an installed package or of the system is loaded while plug-ins are imported."""
        if event == "ctypes.dlsym":
            return self.late
        if event != "ctypes.dlopen" or self.late:
            return True
        name = arguments[0]
        return isinstance(name, str) and os.sep in name and not self.places.is_installed(os.path.realpath(name))

    def _opened(self, given: Any, mode: Any = None, flags: Any = 0) -> tuple[str, bool] | None:
        path = self.places.absolute(given)
        # A descriptor that is open already was opened under these rules.
        if isinstance(given, int):
            return None
        if path is not None and self.places.is_private(path):
            if not _writes(mode, flags) and not os.path.exists(path) and len(self.missing) < MOST:
                name = os.path.relpath(path, self.places.private)
                self.missing.append(f"{name} (in the working, home or temporary folder)")
            return None
        if path is None:
            return f"a file of an odd name {given!r}"[:200], True
        if _writes(mode, flags):
            return None if path == os.devnull else (f"{path} (to write)", True)
        if self.places.may_read(path, self.late):
            return None
        # Python then compiles the source anew. It is no reach: nobody but the import system asked.
        bytecode = path.endswith(".pyc") and os.sep + "__pycache__" + os.sep in path
        is_young = path.endswith(".py") and self.places.is_young(path)
        return path + (" (changed after the run began)" if is_young else ""), not bytecode


def _writes(mode: Any, flags: Any) -> bool:
    if isinstance(mode, str) and set(mode) & set("wax+"):
        return True
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND))
