"""Free adversarial training: the gradient that moves the weights moves the perturbation too (Shafahi et al. 2019)."""

from __future__ import annotations

from methods.settings import MethodSettings
from methods.strategies.one_network import OneNetwork, OneNetworkSettings
from methods.training import Objective
from methods.training.free import FreeSettings


class FreeNetworkSettings(OneNetworkSettings, FreeSettings):
    """Of one network, and of the algorithm."""


class FreeAT(OneNetwork):
    """One network, free adversarial training on every task in turn."""

    version = 1
    paper = "Shafahi et al. 2019, Adversarial Training for Free!"
    Settings = FreeNetworkSettings

    @classmethod
    def objective(cls, settings: MethodSettings) -> Objective:
        assert isinstance(settings, FreeSettings)
        return settings.objective()
