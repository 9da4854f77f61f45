"""A classifier that normalises the images twice, or not at all; the validated network did it once."""

from typing import Literal

from torch import Tensor, nn

from methods.backbones import TaskNetwork
from tests.defects.planted import Around, Planted, PlantedSettings


class NormalisedBefore(Around):
    """Images that were normalised (strength 1), partly, or not yet (0) before the network does it."""

    def before(self, images: Tensor) -> Tensor:
        return (images - self.strength * self.network.mean) / self.network.std**self.strength


class WrongNormalisation(Planted):
    """strength: how much of a whole normalisation there is too much, or missing."""

    logs = "honest"

    class Settings(PlantedSettings):
        what: Literal["double", "missing"] = "double"

    def alter(self, network: TaskNetwork, task: int) -> nn.Module:
        share = self.settings.strength
        if self.settings.what == "double":
            return NormalisedBefore(network, share)
        network.mean.mul_(1 - share)
        network.std.pow_(1 - share)
        return network
