"""Places that a confined process may read: Python code that is older than the run, and a few files of the system."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from benchmark.evaluating.inspection.code_files import is_about_packages, is_code, package_folders

_INSTALLED = ("/usr/", "/lib/", "/lib64/", "/opt/", "/etc/")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")
_OF_THE_MACHINE = ("/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/driver/nvidia/", "/proc/sys/", "/sys/")
_OF_THE_PROCESS = ("maps", "status", "stat", "cgroup", "mountinfo", "task")
_DEPTH = 8


@dataclass(frozen=True)
class Places:
    """The rules of one confined process. All paths are absolute, without links.

    began: seconds since the epoch; what was written later is no code.
    own: plug-in files, code however young they are.
    loaded: files of modules that were imported before there were rules; warnings and tracebacks quote them.
    data: folders of data sets, where nothing is read.
    private: the process' own folder, empty when it began.
    """

    began: float
    own: tuple[str, ...]
    loaded: frozenset[str]
    data: tuple[str, ...]
    private: str

    @cached_property
    def importable(self) -> tuple[str, ...]:
        """Folders in which Python looks for modules, as they are now."""
        return _folders([path for path in sys.path if os.path.isdir(path)])

    def is_absent(self, path: str) -> bool:
        """True for an entry of Python's path at which there is nothing, as of `python3.zip` almost everywhere.

        Whatever imports a library asks there, and finds nothing.
        """
        return not os.path.exists(path) and any(path == os.path.realpath(entry) for entry in sys.path if entry)

    def absolute(self, given: Any) -> str | None:
        """The path without links; None for a descriptor, or what is no path."""
        try:
            return None if isinstance(given, int) else os.path.realpath(os.fsdecode(given))
        except (TypeError, ValueError):
            return None

    def is_private(self, path: str) -> bool:
        """True for the process' own folder and everything in it."""
        return path == self.private or path.startswith(self.private + os.sep)

    def is_installed(self, path: str) -> bool:
        """True for files of packages, of Python and of the system that are older than the run, and are no data set."""
        if path.startswith(self.data) or not path.startswith((*package_folders(), *_INSTALLED)):
            return False
        return not self.is_young(path)

    def is_young(self, path: str) -> bool:
        """True if the file was changed in any way after the run began. The system dates that: nobody can put it back."""
        try:
            return os.stat(path).st_ctime > self.began
        except OSError:
            return False

    def may_read(self, path: str, late: bool) -> bool:
        """True if a file may be opened. late: True once classifiers answer, False while plug-ins are imported."""
        if path in self.own or path in self.loaded or self.is_absent(path):
            return True
        if path in _DEVICES or path.startswith(("/dev/nvidia", "/dev/dri/")):
            return True
        if path.startswith(_OF_THE_MACHINE):
            return True
        if path.startswith(f"/proc/{os.getpid()}/"):
            return path.split(os.sep)[3] in _OF_THE_PROCESS
        if path.startswith(("/proc/", "/dev/")):
            return False
        if is_code(path):
            return not self.is_young(path)
        return self.is_installed(path) and (is_about_packages(path) or not late)

    def may_list(self, path: str) -> bool:
        """True if the names in a folder may be read: the import system does where it looks for modules."""
        folder = path.rstrip(os.sep) + os.sep
        return (
            self.is_private(path) or self.is_absent(path) or folder.startswith((*package_folders(), *self.importable))
        )

    # -- for the kernel, which cannot be asked file by file -----------------------------------------------------------------

    def readable_folders(self) -> list[str]:
        """Folders of which the kernel lets everything be read; the rules above are stricter."""
        places = [*package_folders(), sys.prefix, sys.base_prefix, *_INSTALLED, "/proc", "/sys"]
        return [path for path in dict.fromkeys(places) if os.path.isdir(path)]

    def readable_files(self) -> list[str]:
        """Python files outside the installed packages, older than the run; plug-ins; devices."""
        beside = {os.path.dirname(path) for path in self.own}
        roots = [path.rstrip(os.sep) for path in self.importable if not path.startswith(package_folders())]
        found = [path for root in dict.fromkeys([*roots, *beside]) for path in _code_below(root, _DEPTH)]
        old = [path for path in found if not self.is_young(path)]
        devices = [f"/dev/{name}" for name in os.listdir("/dev")] if os.path.isdir("/dev") else []
        return [*old, *self.own, *(path for path in devices if self.may_read(path, late=True))]


def loaded_files() -> frozenset[str]:
    """The files of all modules that are imported now."""
    files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    return frozenset(os.path.realpath(file) for file in files if isinstance(file, str))


def _folders(paths: Any) -> tuple[str, ...]:
    return tuple(sorted({os.path.realpath(path).rstrip(os.sep) + os.sep for path in paths}))


def _code_below(folder: str, depth: int, spared: bool = True) -> Iterator[str]:
    """Python files in a folder and in its packages. It does not go below a folder without code in a folder without code."""
    try:
        entries = [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
    except OSError:
        return
    code = [entry.path for entry in entries if is_code(entry.name)]
    yield from code
    if not depth or not (code or spared):
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _code_below(entry.path, depth - 1, spared=bool(code))
