"""Random noise on the input."""

from typing import Literal

import torch
from torch import Tensor, nn

from methods.backbones import TaskNetwork
from tests.defects.planted import Around, Planted, PlantedSettings


class Noisy(Around):
    """strength: the noise's standard deviation, in pixels; asked: how often it was, the seed of the next noise, or None where the
    noise is drawn from the global generator."""

    def __init__(self, network: TaskNetwork, strength: float, asked: list[int] | None) -> None:
        super().__init__(network, strength)
        self.asked = asked

    def before(self, images: Tensor) -> Tensor:
        generator = None
        if self.asked is not None:
            self.asked[0] += 1
            generator = torch.Generator(images.device).manual_seed(self.asked[0])
        return images + self.strength * torch.randn(images.shape, generator=generator, device=images.device)


class NoisyInput(Planted):
    """strength: the noise's standard deviation in units of the preset's eps."""

    class Settings(PlantedSettings):
        generator: Literal["own", "global"] = "own"

    def alter(self, network: TaskNetwork, task: int) -> nn.Module:
        return Noisy(network, self.settings.strength * self.eps, [0] if self.settings.generator == "own" else None)
