"""Independent networks: a packed method in which every task starts from random weights.

The audit of the thesis' code found that a task which misses its gate sends the next one back to random weights (its item A12),
and that the published bars of PackNet look like those of single-task networks (item A13).
"""

from __future__ import annotations

from methods.base import Context
from methods.strategies.packed import PackedMethod
from scenarios.base import LearnTask


class Independent(PackedMethod):
    """A mix-in of packed methods: every task starts from random weights, as if the task before had missed the published gate.

    The classifier of a task is read from the checkpoint right after the task.
    """

    def claimed(self) -> frozenset[str]:
        return frozenset()

    def learn(self, task: LearnTask, context: Context) -> None:
        super().learn(task, context)  # type: ignore[safe-super]
        self.packed.lost = True
