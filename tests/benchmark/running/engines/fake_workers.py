"""Places that execute nothing: each job ends as it was written down, in the order in which jobs were started."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from benchmark.learning.events import Event
from benchmark.planning.jobs import Job
from benchmark.planning.machine import Machine
from benchmark.planning.plan import Planned
from benchmark.running.engines.base import JobEnd
from benchmark.running.engines.schedule import Schedule, Until
from benchmark.running.failures import JobResult
from benchmark.running.seconds.left import Allowance
from scenarios.base import SourceOptions

DEATH = "its process was killed by signal 9 (SIGKILL; out of memory?)"


@dataclass(frozen=True)
class Made:
    """A job as the schedule sees it."""

    hash: str
    needs: dict[str, Made] = field(default_factory=dict)
    seed: int = 0

    @property
    def label(self) -> str:
        return self.hash

    def __str__(self) -> str:
        return self.hash


@dataclass(frozen=True)
class Priced:
    """A job with its passes."""

    job: Made
    passes: float = 1.0


def planned(*jobs: tuple[str, float] | tuple[str, float, Sequence[str]]) -> list[Planned]:
    """Jobs by name, passes and the names of those that they need."""
    made: dict[str, Priced] = {}
    for name, passes, *needs in jobs:
        needed = {need: made[need].job for need in (needs[0] if needs else ())}
        made[name] = Priced(Made(name, needed), passes)
    return cast(list[Planned], list(made.values()))


class FakeWorkers:
    """Places whose jobs end one at a time.

    ends: of each job that does not end well, one for each time that it is started: `dead`, `endless`, or fields of its result.
    started: the jobs, in the order in which they were started.
    allowances: that they were given.
    side_by_side: the most that there were.
    """

    def __init__(self, places: int = 1, **ends: list[Any]) -> None:
        self._places, self._ends = places, ends
        self._running: list[str] = []
        self.started: list[str] = []
        self.allowances: list[Allowance | None] = []
        self.side_by_side = 0
        self.stopped = False

    @property
    def free(self) -> int:
        return self._places - len(self._running)

    def start(self, job: Job, allowance: Allowance | None = None) -> None:
        assert self.free > 0
        self._running.append(job.hash)
        self.started.append(job.hash)
        self.allowances.append(allowance)
        self.side_by_side = max(self.side_by_side, len(self._running))

    def ended(self, timeout: float | None = None) -> list[JobEnd]:
        for name in self._running:
            how = (self._ends.get(name) or [{}])[0]
            if how == "endless":
                continue
            if self._ends.get(name):
                self._ends[name].pop(0)
            self._running.remove(name)
            if isinstance(how, BaseException):
                raise how
            return [JobEnd(name, None, DEATH) if how == "dead" else JobEnd(name, JobResult(name, **how))]
        assert timeout is not None, "nothing will ever end"
        time.sleep(timeout)
        return []

    def stop(self) -> None:
        self.stopped = True


def schedule(
    jobs: Sequence[Planned], workers: FakeWorkers, folder: Path, until: Until | None = None, retries: int = 2
) -> tuple[dict[str, JobResult], list[Event]]:
    """Execute jobs. Returns their results by name, and the events that were told."""
    machine = Machine(folder / "runs", folder / "published", SourceOptions(), "cpu", 2, 1, "", retries=retries)
    told: list[Event] = []
    results = Schedule(jobs, workers, machine, told.append, until).run()
    assert [result.job for result in results] == [item.job.hash for item in jobs], (
        "in the order in which they were given"
    )
    assert workers.stopped
    return {result.job: result for result in results}, told
