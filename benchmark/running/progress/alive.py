"""Tells from files alone if a process still works, on this machine or another, without trusting the clock of either."""

from __future__ import annotations

import json
import os
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

from results.store import HEARTBEAT_SECONDS, STALE_SECONDS

SLACK_SECONDS = 2 * HEARTBEAT_SECONDS
"""A sign of life may seem this far in the future."""


class Pulse:
    """The signs of life in the files of one folder. Whoever looks again and again keeps one, because it remembers what it saw.

    A process gives signs by writing a file again and again. The time of the file is compared with the time that the same file
    system gives a new one, so no two clocks are compared; a file that is seen to change tells more than any clock. A process of
    this machine must be there too.

    unsure: True if times made no sense: a look some seconds later tells if the file changes.
    """

    def __init__(self, folder: Path) -> None:
        self.unsure = False
        self._folder = folder
        self._times: dict[Path, float] = {}
        self._moved: dict[Path, float] = {}
        """The monotonic second at which a file was last seen to have changed since the look before."""

    def alive(self, path: Path, host: Any, pid: Any) -> bool:
        """True if process `pid` of `host` works on, as the file of its signs tells; False if that file is gone."""
        try:
            changed = path.stat().st_mtime
        except OSError:
            return False
        if self._times.setdefault(path, changed) != changed:
            self._times[path], self._moved[path] = changed, time.monotonic()
        here = host == socket.gethostname()
        if here and not exists(pid):
            return False
        if path in self._moved and time.monotonic() - self._moved[path] < STALE_SECONDS:
            return True
        age = self._now() - changed
        if -SLACK_SECONDS <= age < STALE_SECONDS:
            return True
        # A process that is there and gives no sign may be stopped, be another one of the same number, or the clock was changed.
        self.unsure |= here or age < 0
        return False

    def _now(self) -> float:
        """The present time by the file system's clock; by that of this machine if nothing can be written."""
        try:
            with tempfile.TemporaryFile(dir=self._folder) as probe:
                return os.fstat(probe.fileno()).st_mtime
        except OSError:
            return time.time()


def worker_of(directory: Path, pulse: Pulse) -> dict[str, Any] | None:
    """The process that works on a run, as `pid`, `host` and `since`; None if none does. directory: of the run."""
    path = directory / "running"
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(holder, dict) or not pulse.alive(path, holder.get("host"), holder.get("pid")):
        return None
    return holder


def exists(pid: Any) -> bool:
    """True if this machine has a process of this number; one that ended and that nobody has asked for is none."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError, TypeError):
        return False
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        # After the name in brackets, which may hold anything, comes the state; Z is one that ended.
        return stat.rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return True
