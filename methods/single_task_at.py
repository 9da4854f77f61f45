"""Single-task adversarial training: the upper reference for forgetting, the source of goals, and R* of intransigence."""

from __future__ import annotations

from methods.base import MethodSettings
from methods.strategies.network_per_task import NetworkPerTask
from methods.training import TrainedBy


class SingleTaskAT(NetworkPerTask):
    """One network per task, PGD adversarial training unless the settings choose another algorithm."""

    version = 1
    paper = "Madry et al. 2018, Towards Deep Learning Models Resistant to Adversarial Attacks"

    class Settings(MethodSettings, TrainedBy):
        """The algorithm by which each network is trained."""
