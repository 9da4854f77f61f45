"""The writing of one run: every file is written whole and renamed into place, so a kill at any moment harms nothing."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa

from results import schema
from results.files import PARTIAL_SUFFIX, StoreError, read_json, whole_file, write_json
from results.merged import merge
from results.parts import Problem, parts_of, read_parts, write_rows
from results.records import DIRECTORY_DIGITS, Run, demands_path, read_run

HEARTBEAT_SECONDS = 5.0
"""Between two beats."""
OF_FILES = (".parquet", ".json", ".jsonl", ".safetensors")
"""The ends of the names of a run's files."""
STALE_SECONDS = 60.0
"""A heartbeat that does not change for so long belongs to a process that is gone."""
LOOK_SECONDS = 0.5
"""Between two looks at the heartbeat of a process on another machine."""


def now() -> str:
    """The time, UTC, as text."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class RunHeld(StoreError):
    """Another process works on the run."""


class RunStore:
    """The directory of one run under `root`, named by its identity.

    directory: of the run.
    hash: of its identity.
    """

    def __init__(self, root: Path, run_hash: str) -> None:
        self.directory = root / run_hash[:DIRECTORY_DIGITS]
        self.hash = run_hash

    # -- configuration ------------------------------------------------------------------------------------------------

    def exists(self) -> bool:
        """True if the run has been created."""
        return (self.directory / "config.json").exists()

    def read(self) -> Run:
        """The stored run. Raises StoreError if it is missing, unreadable or another one."""
        run = read_run(self.directory)
        if run.hash != self.hash:
            raise StoreError(f"{self.directory}: holds run {run.hash}, not {self.hash}")
        return run

    def write_config(self, identity: Mapping[str, Any], provenance: Mapping[str, Any]) -> None:
        """Create the run. One that is stored keeps the identity and provenance that it was trained under."""
        if self.exists():
            self.read()
            return
        write_json(self.directory / "config.json", {"identity": identity, "provenance": provenance, "protocols": {}})

    def demand(self, preset: str, protocol: Mapping[str, Any]) -> None:
        """Note the demands of a preset on this run, and the run's label there (`protocol["label"]`)."""
        with _in_turn(self.directory.parent, self.directory.name):
            config = read_json(self.directory / "config.json")
            config["protocols"][preset] = {**protocol, "demanded_at": now()}
            write_json(self.directory / "config.json", config)

    def add_demands(self, protocols: Mapping[str, Any]) -> None:
        """Note the demands of another copy of this run, by preset, as far as none of that preset is noted here."""
        with _in_turn(self.directory.parent, self.directory.name):
            config = read_json(self.directory / "config.json")
            write_json(self.directory / "config.json", {**config, "protocols": {**protocols, **config["protocols"]}})

    # -- tables -------------------------------------------------------------------------------------------------------

    def _write(self, path: Path, rows: Iterable[Mapping[str, Any]] | pa.Table, columns: pa.Schema) -> None:
        table = (
            rows if isinstance(rows, pa.Table) else pa.Table.from_pylist([dict(row) for row in rows], schema=columns)
        )
        with whole_file(path) as temporary:
            write_rows(table.cast(columns), temporary)

    def write_tasks(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Store the tasks, once: they are part of the run's identity."""
        path = self.directory / "tasks.parquet"
        if read_parts([path], schema.TASKS)[1]:
            if path.exists():
                self._aside(path)
            self._write(path, rows, schema.TASKS)

    def write_part(self, table: str, name: str, rows: Iterable[Mapping[str, Any]] | pa.Table) -> None:
        """Put part `name` of a table of `schema.TABLES` in place."""
        self._write(self.directory / table / f"{name}.parquet", rows, schema.TABLES[table])

    def has_part(self, table: str, name: str) -> bool:
        """True if part `name` of `table` is stored."""
        return (self.directory / table / f"{name}.parquet").exists()

    def evaluated(self, turn: int) -> bool:
        """True if something was evaluated after task `turn`."""
        return any((self.directory / "evaluations").glob(f"*.{turn:03d}.*.parquet"))

    def drop_part(self, table: str, name: str) -> None:
        """Delete a part, because it is about weights that no longer exist."""
        (self.directory / table / f"{name}.parquet").unlink(missing_ok=True)

    def set_broken_aside(self) -> list[Problem]:
        """Move unreadable parts to `set-aside/`, so that their content is made again; return what was moved."""
        moved = []
        for table, columns in schema.TABLES.items():
            for path in parts_of(self.directory, table):
                for problem in read_parts([path], columns)[1]:
                    moved.append(Problem(self._aside(path), problem.reason))
        for path in sorted(self.directory.rglob(f".*{PARTIAL_SUFFIX}")):
            moved.append(Problem(self._aside(path), "half-written when its process was killed"))
        for path in sorted(path for path in self.directory.rglob("*.*") if path.suffix in OF_FILES and path.is_dir()):
            if path.parent != self.directory / "set-aside":
                moved.append(Problem(self._aside(path), "a folder where a file belongs"))
        return moved

    def _aside(self, path: Path) -> Path:
        target = self.directory / "set-aside" / f"{time.time_ns()}-{path.parent.name}-{path.name.lstrip('.')}"
        target.parent.mkdir(exist_ok=True)
        return path.rename(target)

    def set_folder_aside(self, name: str) -> None:
        """Move a folder to `set-aside/` that stands where a file of the run belongs; do nothing if none does."""
        if (self.directory / name).is_dir():
            self._aside(self.directory / name)

    def set_checkpoint_aside(self, name: str, reason: str) -> Problem:
        """Move a checkpoint's manifest to `set-aside/`."""
        return Problem(self._aside(self.directory / "checkpoints" / f"{name}.json"), reason)

    def set_stale_aside(self, turn: int, classifiers: Mapping[str, str]) -> list[Problem]:
        """Set aside the evaluations after task `turn` of other classifiers than these (task → fingerprint).

        A task that is learned again, because its checkpoint is unreadable, may end in other weights on another machine.
        """
        moved = []
        for path in sorted((self.directory / "evaluations").glob(f"*.{turn:03d}.*.parquet")):
            rows = read_parts([path], schema.EVALUATIONS)[0].to_pylist()
            if all(row["classifier"] == classifiers.get(str(row["task"])) for row in rows):
                continue
            images = self.directory / "adversarial" / f"{path.stem}.safetensors"
            for part in (images, self.directory / "predictions" / path.name, path):
                if part.exists():
                    moved.append(Problem(self._aside(part), "of a classifier that was learned again"))
        return moved

    # -- failures and the heartbeat -------------------------------------------------------------------------------------

    def fail(self, **entry: Any) -> None:
        """Append one line to failures.jsonl."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / "failures.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"time": now(), **entry}, ensure_ascii=False) + "\n")

    def clear_failures(self) -> None:
        """Set the old failures aside, because a run that was finished after a failure has not failed."""
        path = self.directory / "failures.jsonl"
        if path.exists():
            self._aside(path)

    @contextmanager
    def working(self, *, watch: bool = True) -> Iterator[None]:
        """Hold the run while working on it, and keep its heartbeat file `running`.

        Between processes of one machine a file lock decides, which ends with its process, however that ends. Between machines
        on a shared file system without such locks a heartbeat decides: it is watched until it beats, because no two clocks need
        agree.

        watch: False to wait for no beat: a run of another machine is then held until this process has looked again and again for
            `STALE_SECONDS` and seen none.
        Raises RunHeld if another process holds the run, and StoreError if nothing can be written here.
        """
        path = self.directory / "running"
        with self._locked():
            self._must_not_beat_elsewhere(_beats if watch else _may_beat)
            self.directory.mkdir(parents=True, exist_ok=True)
            self.set_folder_aside("running")
            me = {"pid": os.getpid(), "host": socket.gethostname(), "since": now(), "token": secrets.token_hex(8)}
            with whole_file(path) as temporary:
                temporary.write_text(json.dumps(me), encoding="utf-8")
            stop = threading.Event()

            def beat() -> None:
                # A process that was suspended for long may find another one at work here; then the file is not its own.
                while not stop.wait(HEARTBEAT_SECONDS) and _holder(path) == me:
                    with suppress(OSError):
                        os.utime(path)

            thread = threading.Thread(target=beat, daemon=True, name="heartbeat")
            thread.start()
            try:
                yield
                # The parts that were written are left in the form in which they are read quickest.
                merge(self.directory)
            finally:
                stop.set()
                thread.join()
                if _holder(path) == me:
                    path.unlink(missing_ok=True)

    def _must_not_beat_elsewhere(self, beats: Callable[[Path], bool]) -> None:
        """Raise RunHeld if a process of another machine works on the run. beats: tells it from its heartbeat file."""
        path = self.directory / "running"
        other = _holder(path)
        if other.get("host") not in (None, socket.gethostname()) and beats(path):
            raise RunHeld(f"{self.directory}: process {other.get('pid')} on {other['host']} is working on this run")

    def tidy(self) -> None:
        """Clear away the heartbeat and the half-written files of a process that was killed; a run that is worked on stays."""
        left = self.directory.rglob(f".*{PARTIAL_SUFFIX}")
        if (self.directory / "running").exists() or any(path.parent.name != "set-aside" for path in left):
            with suppress(StoreError), self.working():
                self.set_broken_aside()

    def move_away(self, target: Path) -> None:
        """Move the whole directory to `target`. Raises StoreError if a process is working on the run."""
        try:
            with self._locked():
                self._must_not_beat_elsewhere(_beats)
                target.parent.mkdir(parents=True, exist_ok=True)
                self.directory.rename(target)
        except RunHeld as held:
            raise StoreError(f"{held}; wait for it or stop it") from None

    def move_in(self, source: Path) -> None:
        """Make `source` the directory of this run, at once and whole. It lies on the same file system.

        Raises StoreError if the run has a directory already, or if a process is about to work on it.
        """
        with self._locked():
            if self.directory.exists():
                raise StoreError(f"{self.directory}: came into being just now; the same command again merges into it")
            source.rename(self.directory)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # Beside the run's directory, because that one can be moved away; never deleted, because a lock on a deleted file
        # locks nobody out.
        path = self.directory.parent / ".locks" / self.directory.name
        with _opened_lock(path) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = _holder(self.directory / "running").get("pid", "another")
                raise RunHeld(f"{self.directory}: process {holder} is working on this run") from None
            except OSError as error:
                raise StoreError(
                    f"{path}: cannot be locked ({error.strerror}); choose a folder on another disk"
                ) from None
            yield


def demand_of_published(runs: Path, run_hash: str, preset: str, protocol: Mapping[str, Any]) -> None:
    """Note the demands of a preset on a published run, in a file among the local runs that `records.load` reads."""
    path = demands_path(runs, run_hash)
    with _in_turn(runs, run_hash[:DIRECTORY_DIGITS]):
        protocols = read_json(path) if path.exists() else {}
        write_json(path, {**protocols, preset: {**protocol, "demanded_at": now()}})


@contextmanager
def _in_turn(runs: Path, name: str) -> Iterator[None]:
    """Wait until no other command notes demands on a run: each writes what it has read and changed.

    A complete run is held by nobody, so commands of several presets may come to it at once.
    """
    path = runs / ".locks" / f"{name}.demands"
    with _opened_lock(path) as file:
        with suppress(OSError):
            # A disk without locks is told where runs are held.
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _opened_lock(path: Path) -> TextIO:
    """A file to lock, made if it is not there. Raises StoreError if it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a")
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror})") from error


def _holder(path: Path) -> dict[str, Any]:
    """The process that wrote the heartbeat file, as `pid`, `host` and `since`; empty if there is none."""
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return holder if isinstance(holder, dict) else {}


def _beats(path: Path) -> bool:
    """True if a heartbeat file changes while it is watched, False once it has not for `STALE_SECONDS`, or is gone."""
    first, began = _sign(path), time.monotonic()
    while first is not None and time.monotonic() - began < STALE_SECONDS:
        time.sleep(LOOK_SECONDS)
        latest = _sign(path)
        if latest != first:
            return latest is not None
    return False


_seen: dict[Path, tuple[tuple[int, int], float]] = {}
"""Of heartbeat files of other machines: their sign, and the monotonic second at which this process saw it first."""


def _may_beat(path: Path) -> bool:
    """True unless a heartbeat file is gone, or this process has seen no beat of it for `STALE_SECONDS`. It does not wait."""
    sign = _sign(path)
    if sign is None:
        return False
    if _seen.get(path, (None, 0.0))[0] != sign:
        _seen[path] = sign, time.monotonic()
    return time.monotonic() - _seen[path][1] < STALE_SECONDS


def _sign(path: Path) -> tuple[int, int] | None:
    """Something that every beat changes; None if there is no file."""
    try:
        # A file that is opened is asked for on a shared file system; what is known of it may be old otherwise.
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino
