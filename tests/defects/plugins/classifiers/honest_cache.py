"""Python state that does no harm: a constant made at the first question, and numbers that never change."""

from torch import Tensor, nn

from methods.backbones import TaskNetwork
from tests.defects.planted import Around, Planted


class Caches(Around):
    """made: the mean and the deviation for every pixel, made when the first image shows how many there are."""

    def __init__(self, network: TaskNetwork, strength: float) -> None:
        super().__init__(network, strength)
        self.made: dict[str, Tensor] = {}
        self.limits = {"rows": 4096, "asked": [0, 0]}

    def forward(self, images: Tensor) -> Tensor:
        if not self.made:
            shape = images.shape[1:]
            self.made["mean"] = self.network.mean.expand(1, *shape).clone()
            self.made["std"] = self.network.std.expand(1, *shape).clone()
        normal = (images - self.made["mean"]) / self.made["std"]
        return self.network.head(self.network.backbone(normal))


class HonestCache(Planted):
    """strength: means nothing."""

    def alter(self, network: TaskNetwork, task: int) -> nn.Module:
        return Caches(network, self.settings.strength)
