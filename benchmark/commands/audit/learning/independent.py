"""Independent networks: a packed method in which every task starts from random weights (A12, A13)."""

from __future__ import annotations

from methods.base import Context
from methods.strategies.packed import PackedMethod
from scenarios.base import LearnTask


class Independent(PackedMethod):
    """Mixed into a packed method: after each task its weights are given up, as they are if the published gate is missed.

    The classifier of a task is that of the checkpoint right after it.
    """

    def claimed(self) -> frozenset[str]:
        return frozenset()

    def learn(self, task: LearnTask, context: Context) -> None:
        super().learn(task, context)  # type: ignore[safe-super]
        self.packed.lost = True
