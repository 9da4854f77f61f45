"""Finding stored runs and the names of their checkpoints."""

from __future__ import annotations

from collections.abc import Container, Sequence
from pathlib import Path

from benchmark.errors import ConfigError
from benchmark.planning.jobs import Job
from benchmark.planning.machine import Machine
from results.checkpoints import Checkpoints
from results.files import StoreError
from results.parts import Problem
from results.records import DIRECTORY_DIGITS, Results, Run, read_run
from results.store import RunStore

WHOLE = "all"
"""The name of the one part that a published table is stored in."""

HANDED_OVER = "handed_over"
"""The folder of a run in which images wait until they are judged afresh."""


def find_run(run_hash: str, machine: Machine) -> Run | None:
    """The stored run with this hash, local or published, whichever holds more cells; None if there is none.

    A published record that is unreadable or was edited counts for nothing, and reports name it; a local one is a StoreError.
    """
    name = run_hash[:DIRECTORY_DIGITS]
    local = machine.runs / name
    found = []
    for directory in [local, *sorted(machine.published.glob(f"*/{name}"))]:
        if (directory / "config.json").exists():
            try:
                run = read_run(directory, published=directory != local)
            except StoreError:
                if directory == local:
                    raise
                continue
            if run.hash == run_hash:
                found.append(run)
    return max(found, key=lambda run: run.stored_evaluations, default=None)


def needed_run(job: Job, machine: Machine) -> Run | None:
    """The stored run of a job that another one needs; None if there is none.

    The local one if its last state is here, whatever a published record holds: facts and classifiers are of one and the same
    learning. Else as `find_run`.
    """
    return find_run(job.hash, machine.without_published() if last_checkpoint(job, machine) else machine)


def last_checkpoint(job: Job, machine: Machine) -> str | None:
    """The name of the checkpoint after the last task; None if the run has none here."""
    names = task_checkpoints(Checkpoints(RunStore(machine.runs, job.hash).directory / "checkpoints"))
    tasks = len(job.identity["scenario"]["tasks"])
    return names[-1] if names and names[-1] == task_key(tasks - 1) else None


def unusable(run: Run) -> list[Problem]:
    """The parts of a stored run that no report can use, of all its tables. What can be made again is."""
    for table in ("tasks", "evaluations", "predictions", "facts", "training"):
        getattr(run, table)
    return list(run.problems)


def without_facts(store: RunStore, turns: Sequence[int]) -> list[int]:
    """The turns, of those that are learned, whose facts or epochs are not stored. Only learning makes them."""
    if store.has_part("facts", WHOLE):
        # A copy of a published run: one part holds the facts of all turns.
        return []
    tables = ("facts", "training")
    return [turn for turn in turns if not all(store.has_part(table, task_key(turn)) for table in tables)]


def learnable_again(checkpoints: Checkpoints, turns: Sequence[int], turn: int) -> bool:
    """True if a learned turn can be learned once more by itself: its own checkpoint and that of the turn before are kept."""
    before = turns[: turns.index(turn)][-1:]
    return all(task_key(each) in checkpoints for each in [turn, *before])


def turns_to_learn(
    checkpoints: Checkpoints | None, job: Job, turns: Sequence[int], attacked: Container[int]
) -> list[int]:
    """The turns to learn, in order, so that all are learned and those whose classifiers are attacked have a state.

    checkpoints: that are kept; None if nothing was learned.
    attacked: turns that lack outcomes. If their state was not kept, they are learned again, from the latest one before that was.
    """
    if checkpoints is None:
        return list(turns)
    latest = max((turn for turn in turns if task_key(turn) in checkpoints), default=-1)
    found: set[int] = set()
    for turn in turns:
        if turn > latest or (turn in attacked and state_key(checkpoints, job, turn) is None):
            for before in reversed([each for each in turns if each <= turn]):
                if before in found or (before != turn and task_key(before) in checkpoints):
                    break
                found.add(before)
    return sorted(found)


def task_key(turn: int) -> str:
    """The name of the checkpoint of turn `turn`."""
    return f"task-{turn:03d}"


def task_checkpoints(checkpoints: Checkpoints) -> list[str]:
    """Names of the checkpoints of turns, in order, without those of stages inside a task."""
    return [name for name in checkpoints.names() if "." not in name]


def state_key(checkpoints: Checkpoints, job: Job, turn: int) -> str | None:
    """The checkpoint that holds the job's classifiers as they were after `turn`; None if there is none.

    That is the turn's own, or for a method that claims not to forget the latest one.
    """
    if task_key(turn) in checkpoints:
        return task_key(turn)
    if job.claims_unforgetting:
        later = [name for name in task_checkpoints(checkpoints) if name > task_key(turn)]
        return later[-1] if later else None
    return None


def find_stored_run(name: str, results: Results, runs: Path, preset: str = "") -> Run:
    """The one stored run whose hash or directory is `name`, or else whose label is, or else whose hash begins with it.

    preset: of several the ones that it demanded are meant, if there are any. Local runs come before published ones.
    Raises ConfigError if there is none or more than one, StoreError if its configuration is unreadable.
    """
    for problem in results.unreadable:
        if name and problem.path.name.startswith(name):
            raise StoreError(str(problem))
    found = (
        [run for run in results.runs if name in (run.hash, run.directory.name)]
        or [run for run in results.runs if run.label == name]
        or [run for run in results.runs if run.hash.startswith(name)]
    )
    found = [run for run in found if preset in run.protocols] or found
    found = [run for run in found if not run.published] or found
    if len(found) != 1:
        local = [run for run in results.runs if not run.published]
        known = ", ".join(f"{run.hash[:8]} ({run.label} seed {run.seed})" for run in found or local) or "none"
        wrong = "more than one, so name it by its hash," if found else "no such run"
        raise ConfigError(f"run {name!r}: {wrong} in {runs}; there is: {known}")
    return found[0]
