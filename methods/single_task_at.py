"""Single-task adversarial training: upper reference for forgetting, source of goals, R* of intransigence."""

from __future__ import annotations

from methods.network_per_task import NetworkPerTask
from methods.training import AdversarialTraining, Objective


class SingleTaskAT(NetworkPerTask):
    """One network per task, PGD adversarial training."""

    version = 1
    paper = "Madry et al. 2018, Towards Deep Learning Models Resistant to Adversarial Attacks"

    def objective(self) -> Objective:
        return AdversarialTraining()
