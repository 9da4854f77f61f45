"""Residual networks (He et al. 2016, Deep Residual Learning for Image Recognition), as torchvision builds them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar

from torch import nn

from methods.backbones.base import Backbone, GlobalAverage, Residual, convolution, scaled

WIDTHS = (64, 128, 256, 512)
"""Channels of the four groups of blocks at width 1 (table 1)."""
EXPANSION = 4
"""A bottleneck block gives so many times the channels that it computes with (figure 5)."""

BlockMaker = Callable[[int, int, int], tuple[list[nn.Module], int]]
"""(input channels, channels of the group, stride) → the layers of a block's body, and the channels that come out."""


def _basic(inputs: int, channels: int, stride: int) -> tuple[list[nn.Module], int]:
    first, second = convolution(inputs, channels, stride=stride), convolution(channels, channels)
    return [*first, nn.ReLU(inplace=True), *second], channels


def _bottleneck(inputs: int, channels: int, stride: int) -> tuple[list[nn.Module], int]:
    # The stride is in the 3x3 convolution, as in torchvision ("ResNet v1.5"); the paper has it in the first 1x1.
    first, second = convolution(inputs, channels, 1), convolution(channels, channels, stride=stride)
    third = convolution(channels, channels * EXPANSION, 1)
    return [*first, nn.ReLU(inplace=True), *second, nn.ReLU(inplace=True), *third], channels * EXPANSION


def _residual(make: BlockMaker, inputs: int, channels: int, stride: int) -> tuple[Residual, int]:
    body, outputs = make(inputs, channels, stride)
    projects = stride != 1 or inputs != outputs
    return Residual(body, convolution(inputs, outputs, 1, stride) if projects else ()), outputs


class ResNet(Backbone):
    """A stem, four groups of residual blocks with a ReLU behind each, and the mean over all places.

    make, counts: of blocks: the maker of a body, and the number of blocks in each group.
    small_stem: True for the stem of 32x32 images, one 3x3 convolution; else 7x7 with stride 2 and a pooling.
    """

    make: ClassVar[BlockMaker]
    counts: ClassVar[Sequence[int]]
    small_stem: ClassVar[bool] = False

    def __init__(self, image_shape: tuple[int, int, int], width: float = 1.0) -> None:
        kernel, stride = (3, 1) if self.small_stem else (7, 2)
        channels = scaled(WIDTHS[0], width)
        layers: list[nn.Module] = [*convolution(image_shape[0], channels, kernel, stride), nn.ReLU(inplace=True)]
        if not self.small_stem:
            layers.append(nn.MaxPool2d(3, stride=2, padding=1))
        block = partial(_residual, type(self).make)
        for group, (base, count) in enumerate(zip(WIDTHS, self.counts, strict=True)):
            for number in range(count):
                stride = 2 if group and not number else 1
                residual, channels = block(channels, scaled(base, width), stride)
                layers += [residual, nn.ReLU(inplace=True)]
        super().__init__([*layers, GlobalAverage()], channels)

    @property
    def torchvision_names(self) -> dict[str, str]:
        """Torchvision's name of each module with weights, by its name here."""
        # Made when asked for: a network that holds more than modules and plain values shares no recorded attack with its like.
        theirs = [f"layer{group}.{number}" for group, count in enumerate(self.counts, 1) for number in range(count)]
        blocks = [(f"layers.{place}", layer) for place, layer in enumerate(self.layers) if isinstance(layer, Residual)]
        names = {"layers.0": "conv1", "layers.1": "bn1"}
        for (ours, block), name in zip(blocks, theirs, strict=True):
            names |= _names_of_block(block, ours, name)
        return names


def _names_of_block(block: Residual, ours: str, theirs: str) -> dict[str, str]:
    """Torchvision's names of the layers of a block, by ours."""
    weighted = [place for place, layer in enumerate(block.body) if not isinstance(layer, nn.ReLU)]
    names = {
        f"{ours}.body.{place}": f"{theirs}.{'bn' if index % 2 else 'conv'}{index // 2 + 1}"
        for index, place in enumerate(weighted)
    }
    return names | {f"{ours}.shortcut.{place}": f"{theirs}.downsample.{place}" for place in range(len(block.shortcut))}


class ResNet18(ResNet):
    """ResNet-18: 11.17 M shared weights at width 1, 512 features."""

    make: ClassVar[BlockMaker] = staticmethod(_basic)
    counts = (2, 2, 2, 2)


class ResNet50(ResNet):
    """ResNet-50: 23.45 M shared weights at width 1, 2048 features."""

    make: ClassVar[BlockMaker] = staticmethod(_bottleneck)
    counts = (3, 4, 6, 3)


class CifarResNet18(ResNet18):
    """ResNet-18 whose stem keeps the size of 32x32 images: one 3x3 convolution, no pooling, as most CIFAR code has it."""

    small_stem = True
