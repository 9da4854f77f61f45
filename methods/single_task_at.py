"""Single-task adversarial training: upper reference for forgetting, source of goals, R* of intransigence."""

from __future__ import annotations

from methods.base import MethodSettings
from methods.strategies.network_per_task import NetworkPerTask
from methods.training import Objective
from methods.training.choice import TrainedBy


class SingleTaskSettings(MethodSettings, TrainedBy):
    """By what each network is trained."""


class SingleTaskAT(NetworkPerTask):
    """One network per task, PGD adversarial training."""

    version = 1
    paper = "Madry et al. 2018, Towards Deep Learning Models Resistant to Adversarial Attacks"
    Settings = SingleTaskSettings

    @classmethod
    def objective(cls, settings: MethodSettings) -> Objective:
        assert isinstance(settings, SingleTaskSettings)
        return settings.objective()
