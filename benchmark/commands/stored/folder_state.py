"""The state of a folder of runs at one moment, from its files alone: records, heartbeats and the files of sessions. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from benchmark.running.progress.alive import Pulse, worker_of
from benchmark.running.progress.duration import duration
from benchmark.running.progress.session import read_sessions
from benchmark.running.progress.work import DONE, FAILED, RUNNING, WAITING
from reports.numbers.labels import visible
from reports.numbers.wording import counted
from results.files import StoreError
from results.records import DIRECTORY_DIGITS, Run, read_run
from results.schema import COSTS

FINISHED, STOPPED = "finished", "stopped"
"""States of a run that nothing works on, beside `failed`. The command that runs its preset goes on with one that stopped."""
ORDER = (RUNNING, WAITING, STOPPED, FAILED, FINISHED)
STYLES = {RUNNING: "bold", STOPPED: "yellow", FAILED: "red", FINISHED: "green"}


@dataclass(frozen=True)
class RunState:
    """The state of one run.

    run: the name of its folder.
    label, seed: of the run; the label is that of its first board.
    presets: the boards that demand it.
    state: `running`, `waiting` (for its turn in a command that lives), `stopped`, `failed` or `finished`.
    share: of what its command has to do for it, in 0..1; None if no command that lives knows it.
    seconds_left: of it, at its own speed; None if that is unknown.
    text: a few words on what it does, or why it failed.
    host: the machine that works on it; empty if none does.
    """

    run: str
    label: str
    seed: int
    presets: tuple[str, ...]
    state: str
    share: float | None = None
    seconds_left: float | None = None
    text: str = ""
    host: str = ""


@dataclass(frozen=True)
class SessionState:
    """A command that executes runs of a preset, or was killed while it did.

    alive: False if it was killed; its runs go on with the same command.
    seconds_left: of all its runs; None if that is unknown.
    """

    preset: str
    command: str
    host: str
    pid: int
    since: str
    workers: int
    alive: bool
    seconds_left: float | None


@dataclass(frozen=True)
class FolderState:
    """The state of a folder. unreadable: a line for each of its folders that is no readable run."""

    runs: tuple[RunState, ...]
    sessions: tuple[SessionState, ...]
    unreadable: tuple[str, ...]

    @property
    def is_running(self) -> bool:
        """True if a process works on a run, or is about to."""
        return any(run.state == RUNNING for run in self.runs) or any(session.alive for session in self.sessions)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def table(self) -> RenderableType:
        """For people: a line per command, a line per run that is not finished, and how many there are of each state."""
        lines: list[RenderableType] = [Text(visible(_of_session(session))) for session in self.sessions]
        open_runs = [run for run in self.runs if run.state != FINISHED]
        if open_runs:
            table = Table("run", "label", "seed", "state", "done", "left", "")
            for run in open_runs:
                share = "" if run.share is None else f"{run.share:.0%}"
                left = "" if run.seconds_left is None else duration(run.seconds_left)
                state = Text(run.state, STYLES.get(run.state, ""))
                table.add_row(
                    run.run[:8], Text(visible(run.label)), str(run.seed), state, share, left, Text(visible(run.text))
                )
            lines.append(table)
        counts = Counter(run.state for run in self.runs)
        said = ", ".join(f"{counts[state]} {state}" for state in ORDER if counts[state])
        lines.append(Text(f"{counted(len(self.runs), 'run')}: {said}" if self.runs else "no runs"))
        lines += [Text(visible(f"not readable: {line}"), "yellow") for line in self.unreadable]
        return Group(*lines)


def _of_session(session: SessionState) -> str:
    where = f"process {session.pid} on {session.host}, since {session.since}"
    if not session.alive:
        return f"{session.preset}: {where}, was killed; the same command goes on: {session.command}"
    left = "time left not known yet" if session.seconds_left is None else f"about {duration(session.seconds_left)} left"
    return f"{session.preset}: {left} ({where}, {counted(session.workers, 'worker')})"


def take(runs: Path, preset: str | None, pulse: Pulse) -> FolderState:
    """Look at a folder of runs. preset: the board whose runs are looked at; None for all."""
    states, unreadable = _stored(runs, pulse)
    sessions = []
    for path, content in read_sessions(runs).items():
        if content["ended"]:
            _count_failures(content, states)
            continue
        alive = pulse.alive(path, content["host"], content["pid"])
        names = ("preset", "command", "host", "pid", "since", "workers", "seconds_left")
        sessions.append(SessionState(**{name: content[name] for name in names}, alive=alive))
        # Of a run and its transfers, the later counts.
        for job in {job["run"]: job for job in content["jobs"]}.values():
            _count_job(job, content, states, alive=alive)
    mine = [run for run in states.values() if preset is None or preset in run.presets]
    return FolderState(
        tuple(sorted(mine, key=lambda run: (ORDER.index(run.state), run.label, run.seed, run.run))),
        tuple(session for session in sessions if preset in (None, session.preset)),
        tuple(unreadable),
    )


def _stored(runs: Path, pulse: Pulse) -> tuple[dict[str, RunState], list[str]]:
    """The states of the runs that have a folder, by its name, as records and heartbeats tell."""
    states, unreadable = {}, []
    for directory in sorted(path for path in runs.glob("[!.]*") if path.is_dir()):
        try:
            run = read_run(directory)
        except StoreError as error:
            # A process that has just begun has not written yet what the run is.
            if worker_of(directory, pulse) is None:
                unreadable.append(str(error))
            continue
        states[directory.name] = _state_of(run, worker_of(directory, pulse))
    return states, unreadable


def _state_of(run: Run, worker: Mapping[str, Any] | None) -> RunState:
    label = next((str(each["label"]) for each in run.protocols.values() if "label" in each), run.label)
    state = RunState(run.directory.name, label, run.seed, tuple(sorted(run.protocols)), STOPPED, text=_learned(run))
    if worker is not None:
        return replace(state, state=RUNNING, host=str(worker.get("host", "")))
    if run.failures:
        return replace(state, state=FAILED, text=str(run.failures[-1].get("message", "")))
    if any((run.directory / "facts" / f"{part}.parquet").exists() for part in (COSTS, "all")):
        return replace(state, state=FINISHED, text="")
    return state


def _learned(run: Run) -> str:
    """A few words on how much of its stream a run has learned."""
    scenario = run.identity.get("scenario")
    tasks = scenario.get("tasks") if isinstance(scenario, dict) else None
    learned = len(list((run.directory / "facts").glob("task-*.parquet")))
    return f"{learned} of {counted(len(tasks), 'task')} learned" if isinstance(tasks, list) else ""


def _count_job(job: Mapping[str, Any], session: Mapping[str, Any], states: dict[str, RunState], *, alive: bool) -> None:
    """Count what a session that has not ended says of a job. One that was killed knows nothing of what became of it since."""
    name = str(job["run"])[:DIRECTORY_DIGITS]
    known = states.get(name)
    new = RunState(name, job["label"], job["seed"], (session["preset"],), STOPPED, text="not begun")
    if not alive:
        states.setdefault(name, new)
        return
    known = replace(known or new, presets=tuple(sorted({*(known.presets if known else ()), session["preset"]})))
    if job["state"] == RUNNING:
        left = job["seconds_left"]
        known = replace(
            known, state=RUNNING, share=job["share"], seconds_left=left, text=job["text"], host=session["host"]
        )
    elif known.state == RUNNING:
        # Another process works on it, as its heartbeat or that process' own session says.
        pass
    elif job["state"] == WAITING:
        known = replace(known, state=WAITING, share=0.0, text="")
    elif job["state"] == FAILED:
        known = replace(known, state=FAILED, text=job["text"])
    elif job["state"] == DONE:
        known = replace(known, state=FINISHED, text="")
    states[name] = known


def _count_failures(session: Mapping[str, Any], states: dict[str, RunState]) -> None:
    """Count the failures of a session that has ended, of jobs that never got as far as a record."""
    for job in session["jobs"]:
        if job["state"] == FAILED and job["run"] not in states:
            states[job["run"]] = RunState(
                job["run"], job["label"], job["seed"], (session["preset"],), FAILED, text=job["text"]
            )
