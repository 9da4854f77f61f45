"""The progress of jobs and the time they still take, counted from events. Seconds are of this process' monotonic clock."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmark.learning.events import Event
    from benchmark.planning.plan import Planned

WAITING, RUNNING, DONE, FAILED = "waiting", "running", "done", "failed"
"""States of a job. One that is tried again after its process died is running again."""

LEFT = "left"
"""The kind of the event that time ran out before a job was done."""


@dataclass
class JobProgress:
    """The progress of one job, in passes through the network.

    began: monotonic seconds at its last start.
    turns_done: turns learned since it was planned.
    epoch_share: share of the turn in hand that is learned, in 0..1.
    step: epochs of the stream up to now, with those of earlier turns; the same after a kill, so curves go on.
    took: seconds of its last try; None before its end.
    text: a few words on what it does.
    """

    planned: Planned
    state: str = WAITING
    began: float = 0.0
    turns_done: int = 0
    epoch_share: float = 0.0
    phase: str = ""
    epochs_before: int = 0
    epochs_of_phase: int = 0
    evaluations_done: int = 0
    step: int = 0
    took: float | None = None
    text: str = "waiting"

    @property
    def done_passes(self) -> float:
        if self.state == DONE:
            return self.planned.passes
        turns, work = self.planned.turns, self.planned.cells
        learned = min(1.0, (self.turns_done + self.epoch_share) / turns) if turns else 0.0
        evaluated = min(1.0, self.evaluations_done / work) if work else 0.0
        return learned * self.planned.learning_passes + evaluated * self.planned.evaluation_passes

    @property
    def share(self) -> float:
        """The share of the job that is done, in 0..1."""
        if self.state == DONE:
            return 1.0
        return self.done_passes / self.planned.passes if self.planned.passes else 0.0

    def seconds(self) -> float:
        """Seconds of its last try, up to now if it has not ended; 0 before it starts."""
        if self.took is not None:
            return self.took
        return time.monotonic() - self.began if self.state == RUNNING else 0.0

    def seconds_left(self) -> float | None:
        """Seconds that this job still takes at its own speed so far; None as long as that is unknown."""
        speed = self.speed()
        return None if speed is None else (self.planned.passes - self.done_passes) / speed

    def speed(self) -> float | None:
        """Passes per second of a job that runs; None as long as that is unknown."""
        elapsed = self.seconds()
        if self.state != RUNNING or self.done_passes <= 0 or elapsed <= 1:
            return None
        return self.done_passes / elapsed

    def count(self, event: Event) -> None:
        """Count an event of this job."""
        if event.kind == "start":
            self._start()
        elif event.kind == "epoch":
            self._count_epoch(event)
            self.text = _epoch_text(event)
        elif event.kind == "task":
            if self.turns_done < self.planned.turns and self.epoch_share:
                self.turns_done += 1
            self.epoch_share, self.phase, self.epochs_before, self.epochs_of_phase = 0.0, "", 0, 0
            self.text = f"task {event.task + 1}/{event.tasks} {event.task_name}: attacking"
        elif event.kind == "evaluation":
            self.evaluations_done += 1
            self.text = f"task {event.task + 1}/{event.tasks} {event.task_name}: {event.text}"
        elif event.kind == LEFT:
            # It waits for the next command.
            self.took = self.seconds()
            self.state, self.text = WAITING, event.text
        elif event.kind in (DONE, FAILED):
            self.took = time.monotonic() - self.began if self.began else 0.0
            self.state, self.text = event.kind, event.text

    def _start(self) -> None:
        # A job that is tried again goes on after what it finished before: that stays counted.
        self.state, self.began, self.took, self.text = RUNNING, time.monotonic(), None, "starting"
        self.epoch_share, self.phase, self.epochs_before, self.epochs_of_phase = 0.0, "", 0, 0

    def _count_epoch(self, event: Event) -> None:
        """Count an epoch of the turn being learned; all its phases together have `Method.epochs` epochs, at most."""
        if event.phase != self.phase:
            self.phase, self.epochs_before = event.phase, self.epochs_before + self.epochs_of_phase
        self.epochs_of_phase = event.epoch
        job = self.planned.job
        expected = job.plugin.cls.epochs(job.typed_settings, job.recipe)
        self.epoch_share = min(1.0, (self.epochs_before + event.epoch) / expected)
        self.step = round(event.task * expected) + self.epochs_before + event.epoch


class WorkProgress:
    """The progress of all jobs of a command, by hash. Calling it with an event counts that.

    jobs: by the hash of their run.
    workers: jobs side by side.
    """

    def __init__(self, planned: Sequence[Planned], workers: int) -> None:
        self.jobs = {item.job.hash: JobProgress(item) for item in planned}
        self.workers = workers

    def __call__(self, event: Event) -> None:
        if (job := self.jobs.get(event.job)) is not None:
            job.count(event)

    def ended(self) -> int:
        """The number of jobs that are done or failed."""
        return sum(job.state in (DONE, FAILED) for job in self.jobs.values())

    def seconds_left(self) -> float | None:
        """Seconds for all jobs: the passes left at the mean speed of the running jobs, all workers busy; None if unknown.

        A job that runs takes its own time, however many others there are.
        """
        open_jobs = [job for job in self.jobs.values() if job.state not in (DONE, FAILED)]
        if not open_jobs:
            return 0.0
        speeds = [speed for job in open_jobs if (speed := job.speed()) is not None]
        if not speeds:
            return None
        left = sum(job.planned.passes - job.done_passes for job in open_jobs)
        running = sum(job.state == RUNNING for job in open_jobs)
        # A cluster may have more places than anybody knew.
        side_by_side = min(max(self.workers, running), len(open_jobs))
        each = [seconds for job in open_jobs if (seconds := job.seconds_left()) is not None]
        return max([left / (sum(speeds) / len(speeds)) / side_by_side, *each])


def _epoch_text(event: Event) -> str:
    text = f"task {event.task + 1}/{event.tasks} {event.task_name}  {event.phase} {event.epoch}/{event.epochs}"
    if event.loss is not None:
        text += f"  loss {event.loss:.3f}"
    if event.validation is not None:
        text += f"  robust val {100 * event.validation:.1f} %"
    return text
