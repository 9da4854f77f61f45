"""VGG16-BN as in CPG's code."""

from __future__ import annotations

from torch import nn

from methods.backbones.base import Backbone, convolution, scaled


class VGG16BN(Backbone):
    """VGG16-BN as in CPG's code for 32x32 images: 13 convolutions without bias, two linear layers of 4096 without dropout.

    33.58 M shared weights at width 1 (14.71 M in convolutions, 18.87 M in linear layers). Images of side 32·k keep k²·512
    features after the last pooling. Raises ValueError for images smaller than 32x32.
    """

    plan = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M")

    def __init__(self, image_shape: tuple[int, int, int], width: float = 1.0) -> None:
        channels, height, side = image_shape
        if height < 32 or side < 32:
            raise ValueError(f"backbone vgg16_bn needs images of at least 32x32, not {height}x{side}; use small_conv")
        layers: list[nn.Module] = []
        for item in self.plan:
            if isinstance(item, str):
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [*convolution(channels, scaled(item, width)), nn.ReLU(inplace=True)]
                channels = scaled(item, width)
        hidden = scaled(4096, width)
        flat = channels * (height // 32) * (side // 32)
        layers += [nn.Flatten(), nn.Linear(flat, hidden), nn.ReLU(inplace=True)]
        layers += [nn.Linear(hidden, hidden), nn.ReLU(inplace=True)]
        super().__init__(layers, hidden)
        # CPG's 0.01 at width 1. A narrower layer sums fewer terms: without this its signal fades, and adversarial training
        # at width 1/4 stands still at chance.
        self.linear_std = 0.01 / width**0.5
