"""Madry adversarial training, task after task: the lower bound, because nothing protects what was learned."""

from __future__ import annotations

from methods.base import MethodSettings
from methods.strategies.one_network import OneNetwork
from methods.training import AdversarialTraining, Objective


class MadryAT(OneNetwork):
    """One network, PGD adversarial training on every task in turn."""

    version = 1
    paper = "Madry et al. 2018, Towards Deep Learning Models Resistant to Adversarial Attacks"

    @classmethod
    def objective(cls, settings: MethodSettings) -> Objective:
        return AdversarialTraining()
