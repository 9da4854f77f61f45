"""Transfers: images made on one stored classifier and tried on another, from checkpoints, without training anything.

They come after everything else, because any run may be the source of any other. A source without checkpoints here (a published
record, a row that was not run) is left out: the check that needs it says so, and no row fails for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from typing import Any

import torch

from attacks.base import Attack
from attacks.parts.clock import purpose
from attacks.transfer import EARLIER, Transfer
from benchmark.errors import ConfigError
from benchmark.learning.events import Event, Listener
from benchmark.learning.restoring import Classifiers
from benchmark.planning.cells import Cell, Stored, Work, demanded_transfers, missing_cells, shared_work
from benchmark.planning.jobs import Job, make_jobs
from benchmark.planning.machine import Machine
from benchmark.planning.plan import Cost, Planned, cost_of
from benchmark.planning.presets import Preset
from benchmark.planning.stored_runs import last_checkpoint, state_key
from benchmark.running.attack_cells import CellAttacks, Tell
from benchmark.running.failures import JobResult, failure_lines, record_failure
from benchmark.running.gpu import lost, raise_if_lost
from benchmark.running.recording import Recorder
from benchmark.running.seconds.left import ATTACK, TimeLeft
from benchmark.running.seconds.spent import timed
from methods.base import MethodError
from results.checkpoints import Checkpoints
from results.files import StoreError
from results.store import RunStore
from scenarios.base import DataError, Task

STAGE = "transfers"
"""The stage of a failure that ended the transfers of a run."""


def plan_transfers(jobs: Sequence[Job], machine: Machine, tasks: Sequence[Task]) -> list[Planned]:
    """Plan the transfers that rows among `jobs` lack and that can be made now, each row as a job that knows its sources."""
    rows = [job for job in jobs if job.of_preset]
    # Of what a row is pre-trained on, the preset is another one.
    if not rows or not rows[0].preset.transfers:
        return []
    there = {(job.label, job.seed): job for job in _sources(rows[0].preset, machine, tasks)}
    planned = []
    for job in (job for job in rows if last_checkpoint(job, machine)):
        sources = {label: at for (label, seed), at in there.items() if seed == job.seed and at.hash != job.hash}
        if not job.all_at_once:
            sources[EARLIER] = job
        with_sources = replace(job, sources=sources)
        if cells := missing_transfers(with_sources, machine, tasks):
            work = tuple(shared_work(cells))
            cost = sum((cost_of(item, job, tasks) for item in work), Cost())
            planned.append(Planned(with_sources, 0, work, Cost(), cost, None))
    return planned


def _sources(preset: Preset, machine: Machine, tasks: Sequence[Task]) -> list[Job]:
    """The rows that images are made on, with a checkpoint here. A row that cannot be made here is left out."""
    labels = {demand.attack.source for demand in preset.transfers if isinstance(demand.attack, Transfer)}
    found = []
    for row in preset.rows:
        if row.label in labels:
            # Such as one whose other images are not on this machine: nobody asked for it.
            with suppress(ConfigError, DataError, MethodError):
                found += [job for job in make_jobs(preset, [row], tasks, machine.source) if job.of_preset]
    return [job for job in found if last_checkpoint(job, machine)]


def missing_transfers(job: Job, machine: Machine, tasks: Sequence[Task]) -> list[Cell]:
    """The transfers from the job's sources to its classifiers after the last task that are not stored and can be made.

    One from a classifier of the past whose checkpoint was not kept cannot.
    """
    store = RunStore(machine.runs, job.hash)
    checkpoints = Checkpoints(store.directory / "checkpoints")
    demanded = [
        (task, demand)
        for task, demand in demanded_transfers(job, tasks)
        if not (isinstance(demand.attack, Transfer) and demand.attack.source == EARLIER)
        or state_key(checkpoints, job, task.id) is not None
    ]
    return missing_cells(demanded, Stored(store.read(), job.preset), len(tasks) - 1)


def execute_transfers(
    job: Job, machine: Machine, tasks: list[Task], listen: Listener, time: TimeLeft | None = None
) -> JobResult:
    """Make the transfers that a job lacks. Failures are recorded in the run and returned.

    time: that the job has; None for as much as it takes.
    Raises RunHeld if another process works on the run, StoreError if its directory cannot be written.
    """
    store, time = RunStore(machine.runs, job.hash), time or TimeLeft()
    torch.set_num_threads(machine.threads)
    failures: list[tuple[str, str]] = []
    with store.working(watch=False), timed(store):
        listen(Event(job.hash, job.label, job.seed, "start"))
        recorder = Recorder(store, job.preset, machine.device, machine.threads)

        def tell(after_task: int, task: int, attacks: Sequence[Attack], error: BaseException | None) -> None:
            for attack in attacks:
                name = job.preset.attack_name(attack)
                if error is not None:
                    stage, where = f"{name} on task {task}", {"task": task, "after_task": after_task, "attack": name}
                    failures.append((stage, record_failure(store, stage, error, **where)))
                place = (after_task, len(tasks), tasks[task].name)
                listen(Event(job.hash, job.label, job.seed, "evaluation", *place, text=name))

        def in_time(work: Work) -> AbstractContextManager[None]:
            return time.stage(ATTACK, cost_of(work, job, tasks))

        attacks = CellAttacks(recorder, tell, in_time)
        classifiers = Classifiers(machine)
        cells = missing_transfers(job, machine, tasks)
        for task in tasks:
            mine = [cell for cell in cells if cell.task == task.id]
            if not mine:
                continue
            try:
                with purpose("read"):
                    # A source that cannot be had costs the transfers from it, and no others.
                    found = (_bound_or_told(cell, job, classifiers, machine, tell) for cell in mine)
                    mine = [cell for cell in found if cell is not None]
                    if not mine:
                        continue
                    classifier = classifiers.of(job, None, task.id)
                attacks.make(mine, classifier, task)
            except (StoreError, OSError):
                raise
            except (Exception, SystemExit) as error:
                gone = lost(error, torch.device(machine.device))
                if gone is not None:
                    failures.append((STAGE, record_failure(store, STAGE, gone)))
                    return JobResult(job.hash, tuple(failure_lines(job, failures)), lost=True, again=True)
                tell(mine[0].after_task, task.id, [cell.attack for cell in mine], error)
        # After another try nothing is left of what ended the first one; what failed before the transfers has still failed.
        if not (failures or time.out) and all(_is_of_transfers(entry, job.preset) for entry in store.read().failures):
            store.clear_failures()
    return JobResult(job.hash, tuple(failure_lines(job, failures)), left=time.out)


def _bound_or_told(cell: Cell, job: Job, classifiers: Classifiers, machine: Machine, tell: Tell) -> Cell | None:
    """As `_bound`; None if the classifier that the images are made on cannot be restored, which is told as a failed cell.

    Raises DeviceLost, StoreError and OSError.
    """
    try:
        return _bound(cell, job, classifiers)
    except (StoreError, OSError):
        raise
    except (Exception, SystemExit) as error:
        raise_if_lost(error, torch.device(machine.device))
        tell(cell.after_task, cell.task, [cell.attack], error)
        return None


def _bound(cell: Cell, job: Job, classifiers: Classifiers) -> Cell:
    """The cell of a transfer with the classifier that its images are made on."""
    attack = cell.attack
    assert isinstance(attack, Transfer)
    turn = cell.task if attack.source == EARLIER else None
    return replace(cell, attack=attack.on(classifiers.of(job.sources[attack.source], turn, cell.task)))


def _is_of_transfers(failure: Mapping[str, Any], preset: Preset) -> bool:
    """True if a recorded failure is one of the transfers."""
    names = {preset.attack_name(demand.attack) for demand in preset.transfers}
    return failure.get("stage") == STAGE or failure.get("attack") in names
