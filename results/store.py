"""Writing one run: everything is a whole file put in place by a rename, so a kill at any moment harms nothing."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from results import schema
from results.files import PARTIAL_SUFFIX, StoreError, read_json, whole_file, write_json
from results.records import DIRECTORY_DIGITS, Problem, Run, read_parts, read_run

HEARTBEAT_SECONDS = 5.0
STALE_SECONDS = 60.0
"""A heartbeat older than this belongs to a process that is gone."""

_PARTS = {
    "predictions": schema.PREDICTIONS,
    "evaluations": schema.EVALUATIONS,
    "facts": schema.FACTS,
    "training": schema.TRAINING,
}


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


class RunStore:
    """The directory of one run under `root`, named by its identity."""

    def __init__(self, root: Path, run_hash: str) -> None:
        self.directory = root / run_hash[:DIRECTORY_DIGITS]
        self.hash = run_hash

    # -- configuration ------------------------------------------------------------------------------------------------

    def exists(self) -> bool:
        return (self.directory / "config.json").exists()

    def read(self) -> Run:
        run = read_run(self.directory)
        if run.hash != self.hash:
            raise StoreError(f"{self.directory}: holds run {run.hash}, not {self.hash}")
        return run

    def write_config(self, identity: Mapping[str, Any], provenance: Mapping[str, Any]) -> None:
        """Create the run, or keep the stored one: identity and provenance are what they were when it was trained."""
        if self.exists():
            self.read()
            return
        write_json(self.directory / "config.json", {"identity": identity, "provenance": provenance, "protocols": {}})

    def demand(self, preset: str, label: str | None, protocol: Mapping[str, Any]) -> None:
        """Note what a preset demands of this run, and the label it goes by (None: demanded by another run only)."""
        config = read_json(self.directory / "config.json")
        if label is not None:
            config["identity"]["label"] = label
        config["protocols"][preset] = {**protocol, "demanded_at": now()}
        write_json(self.directory / "config.json", config)

    # -- tables -------------------------------------------------------------------------------------------------------

    def _write(self, path: Path, rows: Iterable[Mapping[str, Any]] | pa.Table, columns: pa.Schema) -> None:
        table = (
            rows if isinstance(rows, pa.Table) else pa.Table.from_pylist([dict(row) for row in rows], schema=columns)
        )
        with whole_file(path) as temporary:
            pq.write_table(table.cast(columns), temporary, compression="zstd")

    def write_tasks(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Store the tasks, once: they are part of the run's identity."""
        path = self.directory / "tasks.parquet"
        if read_parts([path], schema.TASKS)[1]:
            self._write(path, rows, schema.TASKS)

    def write_part(self, table: str, name: str, rows: Iterable[Mapping[str, Any]] | pa.Table) -> None:
        """Put part `name` of `table` (predictions, evaluations, facts or training) in place."""
        self._write(self.directory / table / f"{name}.parquet", rows, _PARTS[table])

    def set_broken_aside(self) -> list[Problem]:
        """Move parts that cannot be read to `set-aside/`, so that what they held is measured again; return what was moved."""
        moved = []
        for table, columns in _PARTS.items():
            for path in sorted((self.directory / table).glob("*.parquet")):
                for problem in read_parts([path], columns)[1]:
                    moved.append(Problem(self._aside(path), problem.reason))
        for path in sorted(self.directory.rglob(f".*{PARTIAL_SUFFIX}")):
            moved.append(Problem(self._aside(path), "half-written when its process was killed"))
        return moved

    def _aside(self, path: Path) -> Path:
        target = self.directory / "set-aside" / f"{time.time_ns()}-{path.parent.name}-{path.name.lstrip('.')}"
        target.parent.mkdir(exist_ok=True)
        return path.rename(target)

    def set_checkpoint_aside(self, name: str, reason: str) -> Problem:
        return Problem(self._aside(self.directory / "checkpoints" / f"{name}.json"), reason)

    # -- failures and the heartbeat -------------------------------------------------------------------------------------

    def fail(self, **entry: Any) -> None:
        """Append one line to failures.jsonl."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / "failures.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"time": now(), **entry}, ensure_ascii=False) + "\n")

    def clear_failures(self) -> None:
        """A run that was finished after a failure has not failed: keep the old lines, but out of the way."""
        path = self.directory / "failures.jsonl"
        if path.exists():
            self._aside(path)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Hold the heartbeat file `running` while working on the run. Raises StoreError if a live process holds it."""
        path = self.directory / "running"
        self.directory.mkdir(parents=True, exist_ok=True)
        me = {"pid": os.getpid(), "host": socket.gethostname(), "since": now()}
        holder = _live_holder(path)
        if holder is not None:
            raise StoreError(f"{self.directory}: process {holder} is working on this run; wait for it or stop it")
        path.unlink(missing_ok=True)
        try:
            with path.open("x", encoding="utf-8") as file:
                json.dump(me, file)
        except FileExistsError:
            raise StoreError(f"{self.directory}: another process has just begun to work on this run") from None
        stop = threading.Event()

        def beat() -> None:
            while not stop.wait(HEARTBEAT_SECONDS):
                path.touch()

        thread = threading.Thread(target=beat, daemon=True, name="heartbeat")
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            path.unlink(missing_ok=True)


def _live_holder(path: Path) -> str | None:
    """Who holds the heartbeat file, or None if nobody does or the holder is gone."""
    try:
        age = time.time() - path.stat().st_mtime
        holder = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if age > STALE_SECONDS:
        return None
    if holder.get("host") == socket.gethostname():
        try:
            os.kill(holder["pid"], 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            pass
    return f"{holder.get('pid')} on {holder.get('host')}"
