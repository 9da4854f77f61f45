"""The time that a job has: a stage that would not end in it, by the pace of those before, is not begun.

A stage is a task to learn, a cell to attack (with those that share its trajectory), or the end of a run: its questions, the
judging afresh and its costs. Each is stored when it ends, so a job that stops between two stages loses nothing.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from benchmark.planning.plan import PER_RUN, PER_TURN, Cost, Rates

LEARN, ATTACK, END = "learn", "attack", "end"
"""Kinds of stages, each with a pace of its own."""

BEFORE = 5.0
"""Seconds that count as if they had gone as expected: a short stage, such as clean images, tells little about the next one."""

_ALWAYS = {LEARN: PER_TURN, ATTACK: 0.0, END: PER_RUN}
"""Seconds of a stage that are neither training nor attack."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """The time that a job is given. It is picklable, and means the same on a machine with another clock.

    seconds: from the moment at which the job begins at its place.
    rates: of the machine, as they were measured.
    """

    seconds: float
    rates: Rates

    def after(self, seconds: float) -> Allowance:
        """The allowance that is left once some seconds have passed."""
        return replace(self, seconds=self.seconds - seconds)


class OutOfTime(Exception):
    """The next stage would not end in time."""


class TimeLeft:
    """The time that a job has left, in the process that executes it. The clock of the wall plays no part.

    allowance: None if there is as much time as it takes.
    out: True once a stage was not begun.
    """

    def __init__(self, allowance: Allowance | None = None) -> None:
        self._allowance = allowance
        self._began = time.monotonic()
        self._expected: dict[str, float] = defaultdict(float)
        self._took: dict[str, float] = defaultdict(float)
        self.out = False

    @contextmanager
    def stage(self, kind: str, cost: Cost | None = None) -> Iterator[None]:
        """Do a stage inside the block. Raises OutOfTime before it begins, if it would not end in time.

        kind: `LEARN`, `ATTACK` or `END`.
        cost: of it; None if it makes no passes that are counted.
        """
        if self._allowance is None:
            yield
            return
        expected = self._allowance.rates.of_passes(cost or Cost()) + _ALWAYS[kind]
        began = time.monotonic()
        if began + expected * self.pace(kind) > self._began + self._allowance.seconds:
            self.out = True
            raise OutOfTime
        yield
        self._expected[kind] += expected
        self._took[kind] += time.monotonic() - began

    def pace(self, kind: str) -> float:
        """The seconds that stages of a kind took in this job, for each second that was expected; 1 before the first ended."""
        return (self._took[kind] + BEFORE) / (self._expected[kind] + BEFORE)

    def raise_if_out(self) -> None:
        """Raise OutOfTime if a stage was not begun: those that follow would need it, or would overtake it."""
        if self.out:
            raise OutOfTime
