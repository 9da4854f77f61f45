"""Timing things that are compared: in turns within one run, so that a busy machine slows both; medians after a warm-up."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch

SECONDS = 4.0
"""Time given to each measurement, shared by what is compared in it."""


class Clock:
    """Times functions in turn on one device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def _once(self, work: Callable[[], Any]) -> float:
        self._wait()
        began = time.perf_counter()
        work()
        self._wait()
        return time.perf_counter() - began

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def medians(self, *works: Callable[[], Any], seconds: float | None = None) -> list[float]:
        """Median seconds of each, after one warm-up, at least three turns, and `SECONDS` if not told otherwise."""
        for work in works:
            self._once(work)
        times: list[list[float]] = [[] for _ in works]
        began = time.perf_counter()
        while len(times[0]) < 3 or time.perf_counter() - began < (SECONDS if seconds is None else seconds):
            for i, work in enumerate(works):
                times[i].append(self._once(work))
        return [median(each) for each in times]
