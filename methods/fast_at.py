"""Fast adversarial training: FGSM from a random start, and a watch over its collapse (Wong et al. 2020)."""

from __future__ import annotations

from methods.strategies.one_network import OneNetwork, OneNetworkSettings
from methods.training.algorithms.fast import FastSettings


class FastAT(OneNetwork):
    """One network, fast adversarial training on every task in turn."""

    version = 1
    paper = "Wong et al. 2020, Fast is better than free: Revisiting adversarial training"

    class Settings(OneNetworkSettings, FastSettings):
        """Of one network, and of the algorithm."""
