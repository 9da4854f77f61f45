"""Free adversarial training: the gradient that moves the weights moves the perturbation too (Shafahi et al. 2019)."""

from __future__ import annotations

from methods.strategies.one_network import OneNetwork, OneNetworkSettings
from methods.training.algorithms.free import FreeSettings


class FreeAT(OneNetwork):
    """One network, free adversarial training on every task in turn."""

    version = 1
    paper = "Shafahi et al. 2019, Adversarial Training for Free!"

    class Settings(OneNetworkSettings, FreeSettings):
        """Of one network, and of the algorithm."""
