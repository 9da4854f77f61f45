"""Quantisation: rounding has no gradient but zero, unless it is passed straight through."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from methods.backbones import TaskNetwork
from tests.defects.planted import Planted, PlantedSettings


class Quantised(nn.Module):
    """of: what is rounded to multiples of `step`; rounded: bool (1, C, H, W), the pixels that are, where it is the input."""

    rounded: Tensor

    def __init__(self, network: TaskNetwork, of: str, step: float, rounded: Tensor, passes: bool) -> None:
        super().__init__()
        self.network, self.of, self.step, self.passes = network, of, step, passes
        self.register_buffer("rounded", rounded)

    def forward(self, images: Tensor) -> Tensor:
        inner = self.network
        if self.of == "input":
            images = torch.where(self.rounded, self.round(images), images)
        features = inner.backbone((images - inner.mean) / inner.std)
        logits = inner.head(self.round(features) if self.of == "features" else features)
        return self.round(logits) if self.of == "logits" else logits

    def round(self, values: Tensor) -> Tensor:
        fixed = (values / self.step).round() * self.step
        return fixed.detach() + (values - values.detach()) if self.passes else fixed


class Rounded(Planted):
    """strength: bits; the input is rounded to that many in all, features and logits to that many after the point."""

    class Settings(PlantedSettings):
        of: Literal["input", "features", "logits"] = "input"
        share: float = Field(1.0, description="of the pixels")
        passes: bool = Field(False, description="the gradient is that of the values before they were rounded")

    def alter(self, network: TaskNetwork, task: int) -> nn.Module:
        levels = 2**self.settings.strength
        step = 1 / (levels - 1) if self.settings.of == "input" else 1 / levels
        chosen = torch.rand(1, *self.stream.image_shape, generator=torch.Generator().manual_seed(0))
        return Quantised(network, self.settings.of, step, chosen < self.settings.share, self.settings.passes)
