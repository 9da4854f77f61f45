"""The contract of an engine: places where jobs are executed side by side, and the end of a job there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from benchmark.planning.jobs import Job
from benchmark.running.failures import JobResult
from benchmark.running.seconds.left import Allowance


@dataclass(frozen=True, slots=True)
class JobEnd:
    """The end of a job at its place.

    job: hash of its run.
    result: as the job gave it; None if the process or the node that executed it died.
    death: one clear line on that, such as `its process was killed by signal 9 (out of memory?)`; empty if it did not die.
    """

    job: str
    result: JobResult | None
    death: str = ""


class Workers(Protocol):
    """Places where jobs are executed side by side. Whoever makes one gives it the preset's machine and a listener of events.

    A place that became unusable, because its process died or lost its GPU (`JobResult.lost`), is replaced without being asked.
    """

    @property
    def free(self) -> int:
        """Places at which nothing is executed, 0 or more."""

    def start(self, job: Job, allowance: Allowance | None = None) -> None:
        """Execute a job at a free place, in the background: `perform` there does it.

        allowance: the time that the job has; None for as much as it takes. A job says itself that it left something
            (`JobResult.left`).
        """

    def ended(self, timeout: float | None = None) -> list[JobEnd]:
        """Wait until at least one job has ended, and tell which; an empty list if nothing ended in time.

        timeout: seconds, 0 or more; None to wait as long as it takes.
        """

    def stop(self) -> None:
        """End everything that is executed, at once, and give up all places. Nothing stays behind. It may be called twice.

        `ended(0)` still tells of the jobs that had ended by themselves before.
        """
