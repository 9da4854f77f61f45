"""Single-task standard training: one cleanly trained network per task."""

from __future__ import annotations

from methods.base import MethodSettings
from methods.strategies.network_per_task import NetworkPerTask
from methods.training import CleanTraining, Objective


class SingleTaskStandard(NetworkPerTask):
    """One network per task, clean training: the undefended control that every attack must break."""

    version = 1

    @classmethod
    def objective(cls, settings: MethodSettings) -> Objective:
        return CleanTraining()
