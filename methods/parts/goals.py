"""The goal that a task must reach, and how much less is still as good: what CPG and CMAT decide by (Hung et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Goal:
    """accuracy: to be reached on the task's validation images.

    correct: bool (N,), which of them the network that set the goal gets right, in their order; None for a goal given as a number.
    fixed: a tolerance given as a number; None: one standard error, of the paired difference where `correct` is known.
    """

    accuracy: float
    correct: Tensor | None = None
    fixed: float | None = None

    def tolerance(self, candidate: Tensor) -> float:
        """How far below the goal still counts as reached; candidate: bool (N,), the same images in the same order."""
        if self.fixed is not None:
            return self.fixed
        difference = candidate.cpu().double()
        if self.correct is not None:
            difference = difference - self.correct.cpu().double()
        if len(difference) < 2:
            return 0.0
        return float(difference.std(correction=1)) / len(difference) ** 0.5

    def is_met(self, candidate: Tensor) -> bool:
        return float(candidate.double().mean()) >= self.accuracy - self.tolerance(candidate)
