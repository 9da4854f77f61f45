"""A small network for small images."""

from __future__ import annotations

from torch import nn

from methods.backbones.base import Backbone, convolution, scaled


class SmallConv(Backbone):
    """Three convolutions and a linear layer, for 8x8 digits: 32, 32, pool, 64, pool, 128."""

    def __init__(self, image_shape: tuple[int, int, int], width: float = 1.0) -> None:
        channels, height, side = image_shape
        first, second, hidden = (scaled(base, width) for base in (32, 64, 128))
        layers = [
            *convolution(channels, first),
            nn.ReLU(inplace=True),
            *convolution(first, first),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            *convolution(first, second),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(second * (height // 4) * (side // 4), hidden),
            nn.ReLU(inplace=True),
        ]
        super().__init__(layers, hidden)
