"""A job executed in the process that calls: what every place does, whichever engine it belongs to."""

from __future__ import annotations

from benchmark.learning.events import Event, Listener
from benchmark.planning.jobs import Job, tasks_of
from benchmark.planning.machine import Machine
from benchmark.running.execution import execute
from benchmark.running.failures import JobResult
from benchmark.running.seconds.left import Allowance, TimeLeft
from benchmark.running.transfers import execute_transfers
from results.files import StoreError
from results.store import RunHeld
from scenarios.base import DataError, Task


def perform(
    job: Job, machine: Machine, tasks: list[Task], listen: Listener, allowance: Allowance | None = None
) -> JobResult:
    """Execute a job; a directory that is unreadable, and images that are not there, are a failure too.

    tasks: of the preset.
    allowance: the time that the job has; None for as much as it takes.
    Of a job that is tried again, because its place failed or another process works on its run, whoever does so tells.
    """
    time = TimeLeft(allowance)
    try:
        work = execute_transfers if job.sources else execute
        outcome = work(job, machine, tasks_of(job, tasks, machine), listen, time)
    except RunHeld as held:
        return JobResult(job.hash, learned=False, held=str(held))
    except (StoreError, OSError, DataError) as error:
        return failed(job, error, listen)
    if not outcome.again:
        kind = "failed" if outcome.failures else "left" if outcome.left else "done"
        text = "; ".join(outcome.failures) or ("time is up" if outcome.left else "")
        listen(Event(job.hash, job.label, job.seed, kind, text=text))
    return outcome


def failed(job: Job, error: Exception, listen: Listener) -> JobResult:
    """The result of a job for which something that it needs is not there, told to `listen`."""
    message = " ".join(str(error).split())
    listen(Event(job.hash, job.label, job.seed, "failed", text=message))
    return JobResult(job.hash, (f"{job}: {message}",), learned=False)
