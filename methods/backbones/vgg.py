"""VGG16-BN as in CPG's code."""

from __future__ import annotations

from torch import nn

from methods.backbones.base import Backbone, convolution, scaled

SMALLEST = 17
"""The least side of an image: halved four times and rounded up it is 2, so that the last pooling still has something to pool."""


class VGG16BN(Backbone):
    """VGG16-BN as in CPG's code for 32x32 images: 13 convolutions without bias, two linear layers of 4096 without dropout.

    33.58 M shared weights at width 1 (14.71 M in convolutions, 18.87 M in linear layers). Images of side 32·k keep k²·512
    features after the last pooling. Of smaller images, such as 28x28, poolings take the last row and column of an odd side by
    themselves, so that 512 features are left. Raises ValueError for images smaller than 17x17.
    """

    plan = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M")

    def __init__(self, image_shape: tuple[int, int, int], width: float = 1.0) -> None:
        channels, height, side = image_shape
        if min(height, side) < SMALLEST:
            raise ValueError(
                f"backbone vgg16_bn needs images of at least {SMALLEST}x{SMALLEST}, not {height}x{side}; use small_conv"
            )
        # Halved five times: sides of 32 or more are rounded down as ever, smaller ones up, or nothing would be left.
        smaller = min(height, side) < 32
        layers: list[nn.Module] = []
        for item in self.plan:
            if isinstance(item, str):
                layers.append(nn.MaxPool2d(2, ceil_mode=smaller))
            else:
                layers += [*convolution(channels, scaled(item, width)), nn.ReLU(inplace=True)]
                channels = scaled(item, width)
        hidden = scaled(4096, width)
        rows, columns = (-(-length // 32) if smaller else length // 32 for length in (height, side))
        layers += [nn.Flatten(), nn.Linear(channels * rows * columns, hidden), nn.ReLU(inplace=True)]
        layers += [nn.Linear(hidden, hidden), nn.ReLU(inplace=True)]
        super().__init__(layers, hidden)
        # CPG's 0.01 at width 1. A narrower layer sums fewer terms: without this its signal fades, and adversarial training
        # at width 1/4 stands still at chance.
        self.linear_std = 0.01 / width**0.5
