"""A method that claims not to forget leaves the batch norm of old tasks unfrozen."""

from methods.base import Context
from scenarios.base import LearnTask
from tests.defects.planted import Planted, move_statistics


class UnfrozenBatchNorm(Planted):
    """strength: the momentum by which a new task's images move the statistics of all old tasks."""

    claims = frozenset({"unforgetting"})

    def learn(self, task: LearnTask, context: Context) -> None:
        super().learn(task, context)
        for old in range(task.id):
            move_statistics(self.networks[old], task, self.settings.strength)
