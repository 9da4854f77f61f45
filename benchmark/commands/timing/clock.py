"""Times of things that are compared. They take turns within one run, so that a busy machine slows all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch

SECONDS = 4.0
"""Seconds that a comparison may take, shared by the things compared."""


class Clock:
    """Times functions on one device, in turn."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def _seconds(self, work: Callable[[], Any]) -> float:
        self._wait()
        began = time.perf_counter()
        work()
        self._wait()
        return time.perf_counter() - began

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def medians(self, *works: Callable[[], Any], seconds: float | None = None) -> list[float]:
        """Median seconds of each function, after a warm-up of each.

        seconds: time for all turns together, `SECONDS` if not given; there are at least three turns.
        """
        for work in works:
            self._seconds(work)
        times: list[list[float]] = [[] for _ in works]
        began = time.perf_counter()
        while len(times[0]) < 3 or time.perf_counter() - began < (SECONDS if seconds is None else seconds):
            for i, work in enumerate(works):
                times[i].append(self._seconds(work))
        return [median(each) for each in times]
