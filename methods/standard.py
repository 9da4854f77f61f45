"""Standard training, task after task: no attack in training, no protection against forgetting. The undefended control."""

from __future__ import annotations

from methods.base import MethodSettings
from methods.strategies.one_network import OneNetwork
from methods.training import CleanTraining, Objective


class Standard(OneNetwork):
    """One network, clean training on every task in turn."""

    version = 1

    @classmethod
    def objective(cls, settings: MethodSettings) -> Objective:
        return CleanTraining()
