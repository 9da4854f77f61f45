"""A head that is masked to its task instead of sliced."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from methods.backbones import TaskNetwork
from tests.defects.planted import Around, Planted, PlantedSettings


class Padded(Around):
    def __init__(self, network: TaskNetwork, strength: float, value: float) -> None:
        super().__init__(network, strength)
        self.value = value

    def after(self, logits: Tensor) -> Tensor:
        return F.pad(logits, (0, int(self.strength)), value=self.value)


class PaddedHead(Planted):
    """strength: how many columns there are too many; 0: one for every class of every other task."""

    # The validation attack refuses logits that are not finite.
    logs = "honest"

    class Settings(PlantedSettings):
        value: Literal["0", "-inf"] = "0"

    def alter(self, network: TaskNetwork, task: int) -> nn.Module:
        counts = self.stream.class_counts
        columns = self.settings.strength or sum(counts) - counts[task]
        return Padded(network, columns, float(self.settings.value))
