"""The figures of `time`, found one after another within a budget of seconds. What was found stays, whatever comes after."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from benchmark.commands.timing.clock import Clock

Found = dict[str, Any]
"""Numbers and texts by stable names."""


@dataclass(frozen=True)
class Figure:
    """Numbers that are found together.

    title: for people.
    weight: its share of the time, beside the weights of the others; above 0.
    find: finds them within the seconds of a clock.
    """

    title: str
    weight: float
    find: Callable[[Clock], Found]


class Figures:
    """Figures in turn, each with its share of the seconds that are left.

    seconds: for all of them. What one leaves over is the others'; what one takes too much is too.

    found: so far.
    left_out: titles of the figures for which no time was left, and of those that failed, with the reason.
    """

    def __init__(self, figures: Sequence[Figure], device: torch.device, seconds: float) -> None:
        self._figures, self._device = list(figures), device
        self._end = time.perf_counter() + seconds
        self.found: Found = {}
        self.left_out: list[str] = []

    def find(self, begins: Callable[[str], None], ends: Callable[[Found], None]) -> None:
        """Find all figures.

        begins: told the title of a figure before it is found.
        ends: told what was found of it.
        """
        for k, figure in enumerate(self._figures):
            left = self._end - time.perf_counter()
            if left <= 0:
                self.left_out.append(f"{figure.title}: no time was left")
                continue
            begins(figure.title)
            share = figure.weight / sum(each.weight for each in self._figures[k:])
            try:
                found = figure.find(Clock(self._device, left * share))
            except RuntimeError as error:
                # Such as a GPU whose memory another program fills: the other figures are worth having.
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
                self.left_out.append(f"{figure.title}: {reason}")
                continue
            self.found |= found
            ends(found)
