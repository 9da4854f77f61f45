"""CPG (compact, pick, grow) as published: clean training, goals from cleanly trained single-task networks."""

from __future__ import annotations

from methods.base import MethodSettings
from methods.cmat import CMAT
from methods.recipe import Recipe
from methods.training import CleanTraining, Objective


class CPG(CMAT):
    """CMAT's algorithm without an attack: the continual learner that it is built on."""

    version = 1
    goals_from = "single_task_standard"

    @classmethod
    def passes(cls, settings: MethodSettings, recipe: Recipe) -> float:
        return 3

    def objective(self) -> Objective:
        return CleanTraining()
