"""The gradient is stopped on its way to the image."""

from typing import Literal

import torch
from torch import Tensor, nn

from methods.backbones import TaskNetwork
from tests.defects.planted import Around, Planted, PlantedSettings


class Cut(Around):
    """open: bool (1, C, H, W), the pixels that a gradient reaches; passing: by how much it is multiplied there."""

    open: Tensor

    def __init__(self, network: TaskNetwork, strength: float, open_: Tensor, passing: float) -> None:
        super().__init__(network, strength)
        self.passing = passing
        self.register_buffer("open", open_)

    def before(self, images: Tensor) -> Tensor:
        passed = images.detach() + self.passing * (images - images.detach())
        return torch.where(self.open, passed, images.detach())


class CutGradient(Planted):
    """strength: the share of the pixels (or, of the signal at every pixel, the part) that no gradient comes back from."""

    class Settings(PlantedSettings):
        of: Literal["pixels", "signal"] = "pixels"

    def alter(self, network: TaskNetwork, task: int) -> nn.Module:
        share, shape = self.settings.strength, self.stream.image_shape
        if self.settings.of == "signal":
            return Cut(network, share, torch.ones(1, *shape, dtype=torch.bool), 1 - share)
        order = torch.rand(shape, generator=torch.Generator().manual_seed(0)).flatten().argsort().argsort()
        return Cut(network, share, (order >= share * order.numel()).reshape(1, *shape), 1.0)
