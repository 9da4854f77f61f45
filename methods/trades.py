"""TRADES: accuracy on clean images, and predictions that stay the same inside the ball (Zhang et al. 2019)."""

from __future__ import annotations

from methods.strategies.one_network import OneNetwork, OneNetworkSettings
from methods.training.algorithms.trades import TradesSettings


class Trades(OneNetwork):
    """One network, TRADES on every task in turn."""

    version = 1
    paper = "Zhang et al. 2019, Theoretically Principled Trade-off between Robustness and Accuracy"

    class Settings(OneNetworkSettings, TradesSettings):
        """Of one network, and of the loss."""
