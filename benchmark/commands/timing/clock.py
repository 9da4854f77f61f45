"""Times of things that are compared. They take turns within one run, so that a busy machine slows all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch

FEWEST, MOST = 3, 100
"""Turns of a comparison. A median of fewer says little, and of more nothing new."""

COLD = 2.0
"""Seconds of a first turn on a CPU beyond which it counts: what is made ready in it takes milliseconds."""


class NoTime(RuntimeError):
    """The seconds of a comparison are not enough for the least that says something."""

    def __init__(self) -> None:
        super().__init__("no time was left")


class Clock:
    """Times functions on one device, in turn.

    seconds: that a comparison may take, shared by the things compared.
    """

    def __init__(self, device: torch.device, seconds: float) -> None:
        self.device, self.seconds = device, seconds

    def once(self, work: Callable[[], Any]) -> float:
        """Seconds of one call, with everything that it leaves the device to do."""
        self._wait()
        began = time.perf_counter()
        work()
        self._wait()
        return time.perf_counter() - began

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def must_fit(self, turn: float) -> None:
        """Raise NoTime if two turns take twice as long as is allowed. turn: its seconds, as expected."""
        if turn > self.seconds:
            raise NoTime

    def medians(self, *works: Callable[[], Any], share: float = 1.0) -> list[float]:
        """Median seconds of each function over the turns that fit, after a first turn to warm up.

        share: of the clock's seconds that all turns together may take. There are `FEWEST` turns at least, or two if a third would
        take as long again as was allowed.
        """
        began = time.perf_counter()
        turns = [[self.once(work) for work in works]]
        if self.device.type != "cpu" or sum(turns[0]) < COLD:
            turns.clear()
        while self._another(turns, share * self.seconds, time.perf_counter() - began):
            turns.append([self.once(work) for work in works])
        return [median(times) for times in zip(*turns, strict=True)]

    @staticmethod
    def _another(turns: list[list[float]], seconds: float, taken: float) -> bool:
        """True if there should be another turn. seconds: allowed for all; taken: so far."""
        if len(turns) < 2:
            return True
        next_one = sum(turns[-1])
        if len(turns) < FEWEST:
            return taken + next_one <= 2 * seconds
        return len(turns) < MOST and taken + next_one <= seconds
