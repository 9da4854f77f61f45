"""One place, in the process of the command: for a debugger, and where a process of its own takes longer than the work."""

from __future__ import annotations

from dataclasses import replace

from benchmark.learning.events import Listener
from benchmark.planning.jobs import Job
from benchmark.planning.machine import Machine
from benchmark.running.engines.base import JobEnd, Workers
from benchmark.running.engines.local import LocalWorkers
from benchmark.running.engines.perform import perform
from benchmark.running.seconds.left import Allowance
from scenarios.base import Task


class InThisProcess:
    """This process as the one place (`base.Workers`). A job is executed while it is started.

    Once the process lost its GPU, a worker process takes its place: a failed kernel costs the process that started it alone.

    tasks: of the preset.
    """

    def __init__(self, machine: Machine, tasks: list[Task], listen: Listener) -> None:
        self._machine, self._tasks, self._listen = machine, tasks, listen
        self._ends: list[JobEnd] = []
        self._instead: Workers | None = None

    @property
    def free(self) -> int:
        return self._instead.free if self._instead else 1 - len(self._ends)

    def start(self, job: Job, allowance: Allowance | None = None) -> None:
        if self._instead is not None:
            self._instead.start(job, allowance)
            return
        result = perform(job, self._machine, self._tasks, self._listen, allowance)
        self._ends.append(JobEnd(job.hash, result))
        if result.lost:
            self._instead = LocalWorkers(replace(self._machine, workers=1), self._listen)

    def ended(self, timeout: float | None = None) -> list[JobEnd]:
        if self._instead is not None and not self._ends:
            return self._instead.ended(timeout)
        ends, self._ends = self._ends, []
        return ends

    def stop(self) -> None:
        if self._instead is not None:
            self._instead.stop()
