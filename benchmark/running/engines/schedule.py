"""The order of jobs: each after those it needs, those that others wait for and the longest ones first, the dead ones again.

It knows places (`base.Workers`), and nothing of processes.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from benchmark.learning.events import Event, Listener
from benchmark.planning.jobs import Job
from benchmark.planning.machine import Machine
from benchmark.planning.plan import Planned, Rates
from benchmark.running.engines.base import JobEnd, Workers
from benchmark.running.failures import GOES_ON, JobResult
from benchmark.running.seconds.left import Allowance
from results.files import StoreError
from results.store import RunStore

ENDING_SECONDS = 10.0
"""Seconds before the end of the time that there is, in which processes are ended and verdicts are written."""

HELD_SECONDS = 5.0
"""Between two looks at a run that another process works on."""


@dataclass(frozen=True, slots=True)
class Until:
    """The end of the time in which jobs are executed.

    moment: of `time.monotonic`, at which nothing runs any more.
    rates: of the machine, as they were measured.
    """

    moment: float
    rates: Rates

    def left(self) -> float:
        """Seconds until then; below 0 after it."""
        return self.moment - time.monotonic()


def ranks(planned: Sequence[Planned]) -> dict[str, float]:
    """The passes from the begin of each job to the end of the last one that waits for it, by hash.

    planned: every job follows those it needs.
    """
    found: dict[str, float] = {}
    waiting: dict[str, float] = {}
    for item in reversed(planned):
        rank = item.passes + waiting.get(item.job.hash, 0.0)
        found[item.job.hash] = rank
        for need in item.job.needs.values():
            waiting[need.hash] = max(rank, waiting.get(need.hash, 0.0))
    return found


def in_turn(planned: Sequence[Planned]) -> list[Job]:
    """Jobs in the order in which they are started, as far as nothing is missing for them: the longest way to the end first, and
    of equal ones those that more others wait for.

    planned: every job follows those it needs.
    """
    rank = ranks(planned)
    awaited = Counter(need.hash for item in planned for need in item.job.needs.values())
    jobs = [item.job for item in planned]
    return sorted(jobs, key=lambda job: (-rank[job.hash], -awaited[job.hash]))


class Schedule:
    """Jobs on places.

    planned: the jobs; every job follows those it needs.
    workers: the places. They are stopped at the end, however it comes.
    machine: gives the folder of runs, and the number of times that a job whose process died is tried again.
    listen: is told of deaths and of what became of the jobs.
    until: None if there is as much time as it takes.
    in_order: True if jobs are executed in the order that they are given in, as on a single place.
    """

    def __init__(
        self,
        planned: Sequence[Planned],
        workers: Workers,
        machine: Machine,
        listen: Listener,
        until: Until | None = None,
        *,
        in_order: bool = False,
    ) -> None:
        self._jobs = {item.job.hash: item.job for item in planned}
        self._workers, self._machine, self._listen, self._until = workers, machine, listen, until
        self._waiting = list(self._jobs.values()) if in_order else in_turn(planned)
        self._running: dict[str, Job] = {}
        self._results: dict[str, JobResult] = {}
        self._deaths: Counter[str] = Counter()
        self._held: dict[str, float] = {}
        """The moment at which a run that another process works on is looked at again, by its hash."""
        self._told: set[str] = set()
        """Runs of which it was told that another process works on them."""

    def run(self) -> list[JobResult]:
        """Execute the jobs. Returns their results in the order in which they were given."""
        try:
            while self._waiting or self._running:
                self._settle()
                self._start()
                if self._until is not None and self._until.left() <= 0:
                    # Places that are stopped forget what they were told and nobody asked for.
                    self._take_late()
                    break
                if self._running or self._held:
                    for end in self._ended():
                        self._end(end)
        finally:
            self._workers.stop()
        # Of nodes of a cluster something was on its way.
        self._take_late()
        self._settle()
        for job in [*self._running.values(), *self._waiting]:
            self._leave(job)
        return [self._results[name] for name in self._jobs]

    def _settle(self) -> None:
        """End the jobs whose prerequisites failed, or were left."""
        for job in list(self._waiting):
            for need in job.needs.values():
                before = self._results.get(need.hash)
                if before is None or before.learned:
                    continue
                self._waiting.remove(job)
                if before.left:
                    self._leave(job)
                else:
                    self._fail(job, f"its prerequisite {need} failed")
                break

    def _start(self) -> None:
        """Start the jobs that nothing is missing for, as long as places are free."""
        now = time.monotonic()
        for job in list(self._waiting):
            needed = [need.hash for need in job.needs.values() if need.hash in self._jobs]
            ready = all(name in self._results for name in needed) and self._held.get(job.hash, now) <= now
            if self._workers.free and ready and (self._until is None or self._until.left() > 0):
                self._waiting.remove(job)
                self._held.pop(job.hash, None)
                self._running[job.hash] = job
                self._workers.start(job, self._allowance())

    def _allowance(self) -> Allowance | None:
        return None if self._until is None else Allowance(self._until.left(), self._until.rates)

    def _ended(self) -> list[JobEnd]:
        """Wait until a job ends, a held run may be looked at again, or time is up."""
        # A held run that is due cannot be looked at before a place is free.
        moments = list(self._held.values()) if self._workers.free else []
        moments += [] if self._until is None else [self._until.moment]
        left = max(0.0, min(moments) - time.monotonic()) if moments else None
        if self._running:
            return self._workers.ended(left)
        assert left is not None
        time.sleep(left)
        return []

    def _take_late(self) -> None:
        """Note the jobs that ended as time ran out: what they say of themselves counts. Nothing is tried again."""
        for end in self._workers.ended(0.0):
            result = end.result
            if result is not None and not result.held and not result.again:
                self._results[self._running.pop(end.job).hash] = result

    def _end(self, end: JobEnd) -> None:
        """Note the end of a job, or have it tried again."""
        job, result = self._running.pop(end.job), end.result
        if result is not None and result.held:
            if job.hash not in self._told:
                self._tell(job, "note", f"{result.held}; it is waited for")
            self._told.add(job.hash)
            self._held[job.hash] = time.monotonic() + HELD_SECONDS
            self._waiting.insert(0, job)
        elif result is not None and not result.again:
            self._results[job.hash] = result
        else:
            self._try_again(job, end)

    def _try_again(self, job: Job, end: JobEnd) -> None:
        """Have a job whose process died tried again from its last checkpoint, a set number of times."""
        self._deaths[job.hash] += 1
        times, most = self._deaths[job.hash], self._machine.retries
        if times <= most:
            failed = end.result.failures if end.result else ()
            reason = end.death or "; ".join(line.removeprefix(f"{job}: ").removesuffix(GOES_ON) for line in failed)
            self._tell(job, "note", f"{reason}; tried again from its last checkpoint ({times} of {most})")
            self._waiting.insert(0, job)
        elif end.result is not None:
            # The job has recorded its failure itself.
            self._results[job.hash] = replace(end.result, again=False)
            self._tell(job, "failed", "; ".join(end.result.failures))
        else:
            message = f"{end.death}{f', {times} times' if times > 1 else ''}{GOES_ON}"
            with suppress(StoreError, OSError):
                RunStore(self._machine.runs, job.hash).fail(stage="run", task=None, kind="killed", message=message)
            self._fail(job, message)

    def _fail(self, job: Job, message: str) -> None:
        self._results[job.hash] = JobResult(job.hash, (f"{job}: {message}",), learned=False)
        self._tell(job, "failed", message)

    def _leave(self, job: Job) -> None:
        """Note that time ran out before a job ended; what it has done is stored."""
        self._results[job.hash] = JobResult(job.hash, learned=False, left=True)
        self._tell(job, "left", "time is up")

    def _tell(self, job: Job, kind: str, text: str) -> None:
        self._listen(Event(job.hash, job.label, job.seed, kind, text=text))
