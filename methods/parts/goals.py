"""The goal that a task must reach, and the tolerance below it: what CPG and CMAT decide by (Hung et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Goal:
    """A goal of one task.

    accuracy: to be reached on the task's validation images, 0 to 1.
    correct: bool (N,), the images, in order, that the network that set the goal gets right; None for a goal given as a number.
    fixed: a tolerance given as a number, 0 to 1; None: one standard error, of the paired difference if `correct` is known.
    """

    accuracy: float
    correct: Tensor | None = None
    fixed: float | None = None

    def tolerance(self, candidate: Tensor) -> float:
        """The accuracy below the goal that still counts as reached.

        candidate: bool (N,), the images that the candidate gets right, in the same order.
        """
        if self.fixed is not None:
            return self.fixed
        difference = candidate.cpu().double()
        if self.correct is not None:
            difference = difference - self.correct.cpu().double()
        if len(difference) < 2:
            return 0.0
        return float(difference.std(correction=1)) / len(difference) ** 0.5

    def is_met(self, candidate: Tensor) -> bool:
        """True if the candidate reaches the goal, but for the tolerance."""
        return float(candidate.double().mean()) >= self.accuracy - self.tolerance(candidate)
