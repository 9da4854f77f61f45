"""A job executed in the process that calls: what every place does, whichever engine it belongs to."""

from __future__ import annotations

from benchmark.learning.events import Event, Listener
from benchmark.planning.jobs import Job, tasks_of
from benchmark.planning.machine import Machine
from benchmark.running.execution import execute
from benchmark.running.failures import JobResult
from benchmark.running.transfers import execute_transfers
from results.files import StoreError
from scenarios.base import Task


def perform(job: Job, machine: Machine, tasks: list[Task], listen: Listener, seconds: float | None = None) -> JobResult:
    """Execute a job; an unreadable or locked directory is a failure too.

    tasks: of the preset.
    seconds: the time that the job has; None for as much as it takes.
    """
    listen(Event(job.hash, job.label, job.seed, "start"))
    try:
        work = execute_transfers if job.sources else execute
        outcome = work(job, machine, tasks_of(job, tasks, machine), listen)
    except (StoreError, OSError) as error:
        outcome = JobResult(job.hash, (f"{job}: {' '.join(str(error).split())}",), learned=False)
    kind = "failed" if outcome.failures else "done"
    listen(Event(job.hash, job.label, job.seed, kind, text="; ".join(outcome.failures)))
    return outcome
