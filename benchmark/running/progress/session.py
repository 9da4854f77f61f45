"""A session: one command that executes jobs. It keeps a small file in the results folder, which `status` reads from anywhere.

The process that gives out the jobs writes it: it is told their events, whichever engine executes them. The file is replaced whole
every few seconds, however many events there are.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from benchmark.running.progress.alive import Pulse
from benchmark.running.progress.work import FAILED, JobProgress, WorkProgress
from results.file_names import file_name
from results.files import PARTIAL_SUFFIX, StoreError, canonical_json, read_json, write_text
from results.records import DIRECTORY_DIGITS
from results.store import HEARTBEAT_SECONDS, now

if TYPE_CHECKING:
    from benchmark.learning.events import Event
    from benchmark.planning.machine import Machine
    from benchmark.planning.plan import Planned

FOLDER = ".sessions"
"""The folder of these files, beside the runs. Nothing reads it but `status`, and it may be deleted at any time."""
VERSION = 1


class WorkSession:
    """A session while it lasts: a listener that counts events and keeps the file. Nothing that befalls the file harms the work.

    The file is there from the first jobs to the end. A session in which a job failed leaves it, because a job whose prerequisite
    failed has no record of its own.

    preset: the board's name.
    """

    def __init__(self, preset: str, machine: Machine) -> None:
        host = socket.gethostname()
        self._about: dict[str, Any] = {
            "version": VERSION,
            "preset": preset,
            "command": machine.command,
            "host": host,
            "pid": os.getpid(),
            "since": now(),
            "workers": machine.workers,
        }
        self.path = machine.runs / FOLDER / f"{file_name(host)}-{os.getpid()}.json"
        self._parts: list[WorkProgress] = []
        self._lock, self._stop, self._beats = threading.Lock(), threading.Event(), 0
        self._thread = threading.Thread(target=self._keep, daemon=True, name="session")

    def add(self, planned: Sequence[Planned]) -> None:
        """Add jobs that are about to be executed."""
        with self._lock:
            self._parts.append(WorkProgress(planned, self._about["workers"]))
        if not self._thread.ident:
            forget_ended(self.path.parent, self._about["preset"])
            self._thread.start()
        self._write()

    def __enter__(self) -> WorkSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._parts:
            return
        self._stop.set()
        self._thread.join()
        if any(job.state == FAILED for part in self._parts for job in part.jobs.values()):
            self._write(ended=True)
        else:
            with suppress(OSError):
                self.path.unlink()

    def __call__(self, event: Event) -> None:
        with self._lock:
            self._parts[-1](event)

    def _keep(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            self._write()

    def _write(self, *, ended: bool = False) -> None:
        with self._lock:
            self._beats += 1
            left = self._parts[-1].seconds_left()
            content = {
                **self._about,
                "beat": self._beats,
                "ended": ended,
                "seconds_left": None if left is None else round(left, 1),
                "jobs": [_entry(job) for part in self._parts for job in part.jobs.values()],
            }
        with suppress(StoreError):
            write_text(self.path, canonical_json(content) + "\n")


def _entry(job: JobProgress) -> dict[str, Any]:
    left = job.seconds_left()
    return {
        "run": job.planned.job.hash[:DIRECTORY_DIGITS],
        "label": job.planned.job.label,
        "seed": job.planned.job.seed,
        "state": job.state,
        "share": round(job.share, 4),
        "seconds": round(job.seconds(), 1),
        "seconds_left": None if left is None else round(left, 1),
        "text": job.text,
    }


def read_sessions(runs: Path) -> dict[Path, dict[str, Any]]:
    """The sessions that left a file in a results folder, by that file. One that is unreadable or of another form is left out."""
    found = {}
    for path in sorted((runs / FOLDER).glob("*.json")):
        with suppress(StoreError):
            content = read_json(path)
            if _is_session(content):
                found[path] = content
    return found


_ABOUT = {
    "preset": str,
    "command": str,
    "host": str,
    "pid": int,
    "since": str,
    "workers": int,
    "ended": bool,
    "jobs": list,
}
_OF_JOB = {
    "run": str,
    "label": str,
    "seed": int,
    "state": str,
    "share": float | int,
    "seconds": float | int,
    "text": str,
}


def _is_session(content: Any) -> bool:
    """True if all that is read of it is there, and of its type."""

    def has(values: Any, fields: dict[str, Any]) -> bool:
        known = isinstance(values, dict) and all(isinstance(values.get(name), kind) for name, kind in fields.items())
        return known and "seconds_left" in values and isinstance(values["seconds_left"], float | int | None)

    return (
        has(content, _ABOUT) and content.get("version") == VERSION and all(has(job, _OF_JOB) for job in content["jobs"])
    )


def forget_ended(folder: Path, preset: str) -> None:
    """Delete the files of sessions of a preset that have ended, or were killed: a new one tells what they told."""
    pulse = Pulse(folder)
    for path, session in read_sessions(folder.parent).items():
        mine = session["preset"] == preset
        if mine and (session["ended"] or not pulse.alive(path, session["host"], session["pid"])):
            for left in [path, *folder.glob(f".{path.name}.*{PARTIAL_SUFFIX}")]:
                with suppress(OSError):
                    left.unlink()
