"""The gradient is stopped inside the network: at some of the channels, features or filters, or for some pixels of each image."""

from typing import Literal

import torch
from torch import Tensor, nn

from methods.backbones import TaskNetwork
from tests.defects.planted import Around, Planted, PlantedSettings


class Stopped(nn.Module):
    """The output of a layer, its gradient stopped at a share of the channels: bool (1, C, ...), the channels that it passes."""

    def __init__(self, layer: nn.Module, share: float) -> None:
        super().__init__()
        self.layer, self.share = layer, share

    def forward(self, values: Tensor) -> Tensor:
        given = self.layer(values)
        channels = given.shape[1]
        order = torch.rand(channels, generator=torch.Generator().manual_seed(channels)).argsort().argsort()
        passes = (order >= self.share * channels).reshape(1, -1, *[1] * (given.ndim - 2)).to(given.device)
        return torch.where(passes, given, given.detach())


class OtherPixels(Around):
    """The gradient is stopped at pixels that differ from image to image; the image decides which."""

    def before(self, images: Tensor) -> Tensor:
        place = torch.arange(1, images[0].numel() + 1, device=images.device).reshape(images[0].shape)
        fixed = images.detach().double()
        key = (fixed * 255).round().flatten(1).sum(1).reshape(-1, 1, 1, 1)
        drawn = (torch.sin(key * 12.9898 + place * 78.233) * 43758.5453).frac().abs()
        return torch.where(drawn < self.strength, images.detach(), images)


class CutInside(Planted):
    """strength: the share of what is named that no gradient comes back from."""

    class Settings(PlantedSettings):
        of: Literal["filters", "channels", "features", "layers", "pixels"] = "channels"

    def alter(self, network: TaskNetwork, task: int) -> nn.Module:
        share, layers = self.settings.strength, network.backbone.layers
        # After a ReLU, which works in place: a wrapped layer before it would be overwritten.
        ends = [index for index, layer in enumerate(layers) if isinstance(layer, nn.ReLU)]
        if self.settings.of == "pixels":
            return OtherPixels(network, share)
        at = {"filters": ends[:1], "channels": ends[len(ends) // 2 : len(ends) // 2 + 1], "features": ends[-1:]}
        for index in at.get(self.settings.of, ends):
            layers[index] = Stopped(layers[index], share)
        return network
