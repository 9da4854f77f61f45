"""Logits times a number: cross-entropy saturates in float32, and its gradient is exactly zero."""

from torch import Tensor, nn

from methods.backbones import TaskNetwork
from tests.defects.planted import Around, Planted


class Scaled(Around):
    def after(self, logits: Tensor) -> Tensor:
        return logits * self.strength


class ScaledLogits(Planted):
    """strength: the factor."""

    def alter(self, network: TaskNetwork, task: int) -> nn.Module:
        return Scaled(network, self.settings.strength)
