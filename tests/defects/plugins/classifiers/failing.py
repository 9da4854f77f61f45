"""A classifier that raises, or gives no number, for some inputs."""

from typing import Literal

import torch
from torch import Tensor, nn

from methods.backbones import TaskNetwork
from tests.defects.planted import Around, Planted, PlantedSettings


class Fails(Around):
    """what: what happens where an image's mean is above `strength`."""

    def __init__(self, network: TaskNetwork, strength: float, what: str) -> None:
        super().__init__(network, strength)
        self.what = what

    def forward(self, images: Tensor) -> Tensor:
        bright = images.flatten(1).mean(1) > self.strength
        if self.what == "raises" and bright.any():
            raise RuntimeError("too bright")
        return torch.where(bright[:, None] & (self.what == "nan"), torch.nan, super().forward(images))


class Failing(Planted):
    """strength: the mean of an image above which its classifier fails."""

    logs = "honest"

    class Settings(PlantedSettings):
        what: Literal["raises", "nan"] = "raises"

    def alter(self, network: TaskNetwork, task: int) -> nn.Module:
        return Fails(network, self.settings.strength, self.settings.what)
