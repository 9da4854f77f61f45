"""Transfers: images made on one stored classifier and tried on another, from checkpoints, without training anything.

They come after everything else, because any run may be the source of any other. A source without checkpoints here (a published
record, a row that was not run) is left out: the check that needs it says so, and no row fails for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

import torch

from attacks.base import Attack
from attacks.parts.clock import purpose
from attacks.transfer import EARLIER, Transfer
from benchmark.learning.events import Event, Listener
from benchmark.learning.restoring import Classifiers
from benchmark.planning.cells import Cell, Stored, Work, demanded_transfers, missing_cells, shared_work
from benchmark.planning.jobs import Job, make_jobs
from benchmark.planning.machine import Machine
from benchmark.planning.plan import Cost, Planned, cost_of
from benchmark.planning.stored_runs import task_checkpoints, task_key
from benchmark.running.attack_cells import attack_and_record
from benchmark.running.failures import JobResult, failure_lines, record_failure
from benchmark.running.gpu import lost
from benchmark.running.recording import Recorder
from benchmark.running.seconds.left import ATTACK, TimeLeft
from benchmark.running.seconds.spent import timed
from results.checkpoints import Checkpoints
from results.files import StoreError
from results.store import RunStore
from scenarios.base import Task


def plan_transfers(jobs: Sequence[Job], machine: Machine, tasks: Sequence[Task]) -> list[Planned]:
    """Plan the transfers that rows among `jobs` lack and that can be made now, each row as a job that knows its sources."""
    rows = [job for job in jobs if job.of_preset]
    # Of what a row is pre-trained on, the preset is another one.
    if not rows or not rows[0].preset.transfers:
        return []
    preset = rows[0].preset
    every = make_jobs(preset, preset.rows, tasks, machine.source)
    there = {(job.label, job.seed): job for job in every if job.of_preset and last_checkpoint(job, machine)}
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


def missing_transfers(job: Job, machine: Machine, tasks: Sequence[Task]) -> list[Cell]:
    """The transfers from the job's sources to its classifiers after the last task that are not stored."""
    stored = Stored(RunStore(machine.runs, job.hash).read(), job.preset)
    return missing_cells(demanded_transfers(job, tasks), stored, len(tasks) - 1)


def last_checkpoint(job: Job, machine: Machine) -> str | None:
    """The name of the checkpoint after the last task; None if the run has none here."""
    names = task_checkpoints(Checkpoints(RunStore(machine.runs, job.hash).directory / "checkpoints"))
    tasks = len(job.identity["scenario"]["tasks"])
    return names[-1] if names and names[-1] == task_key(tasks - 1) else None


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

        classifiers = Classifiers(machine)
        cells = missing_transfers(job, machine, tasks)
        for task in tasks:
            mine = [cell for cell in cells if cell.task == task.id]
            if not mine:
                continue
            try:
                with purpose("read"):
                    bound = [_bound(cell, job, classifiers) for cell in mine]
                    classifier = classifiers.of(job, None, task.id)
                attack_and_record(bound, classifier, task, recorder, tell, timed=in_time)
            except (StoreError, OSError):
                raise
            except (Exception, SystemExit) as error:
                gone = lost(error, torch.device(machine.device))
                if gone is not None:
                    failures.append(("transfers", record_failure(store, "transfers", gone)))
                    return JobResult(job.hash, tuple(failure_lines(job, failures)), lost=True, again=True)
                tell(mine[0].after_task, task.id, [cell.attack for cell in mine], error)
    return JobResult(job.hash, tuple(failure_lines(job, failures)), left=time.out)


def _bound(cell: Cell, job: Job, classifiers: Classifiers) -> Cell:
    """The cell of a transfer with the classifier that its images are made on."""
    attack = cell.attack
    assert isinstance(attack, Transfer)
    turn = cell.task if attack.source == EARLIER else None
    return replace(cell, attack=attack.on(classifiers.of(job.sources[attack.source], turn, cell.task)))
