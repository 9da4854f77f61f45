"""Probabilities where logits are expected."""

from typing import Literal

from torch import Tensor, nn

from methods.backbones import TaskNetwork
from tests.defects.planted import Around, Planted, PlantedSettings


class AfterSoftmax(Around):
    def __init__(self, network: TaskNetwork, strength: float, of: str) -> None:
        super().__init__(network, strength)
        self.of = of

    def after(self, logits: Tensor) -> Tensor:
        if self.of == "log":
            return logits.log_softmax(1)
        if self.of == "mixed":
            return self.strength * logits.softmax(1) + (1 - self.strength) * logits
        return self.strength * logits.softmax(1)


class Probabilities(Planted):
    """strength: what the softmax is multiplied by; mixed: its part beside the logits; log: log-softmax, which is harmless."""

    class Settings(PlantedSettings):
        of: Literal["scaled", "mixed", "log"] = "scaled"

    def alter(self, network: TaskNetwork, task: int) -> nn.Module:
        return AfterSoftmax(network, self.settings.strength, self.settings.of)
