"""Layers with batch norm folded in: what an attack on a network in eval mode needs of it, in another precision.

In eval mode batch norm is affine, so it is part of the convolution or linear layer before it (Jacob et al. 2018, section 3.2).
Exact but for rounding.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.backbones import Backbone, BatchNorm, Residual


@contextmanager
def folded(network: nn.Module, dtype: torch.dtype) -> Iterator[bool]:
    """Let the backbones of a network run on folded copies of their weights, as they are now. The value: True if any does.

    network: inside the block no gradient reaches its weights.
    dtype: of the copies and of what lies between them; features come out in the images' dtype.

    A backbone whose batch norm is in train mode or has no running statistics runs as it is. So does a network that calls the
    layers of its backbone one by one. Blocks may stand in one another.
    """
    backbones = [
        module for module in network.modules() if isinstance(module, Backbone) and "instead" not in vars(module)
    ]
    changed: list[Backbone] = []
    try:
        for backbone in backbones:
            layers = fold(list(backbone.layers), dtype)
            if layers is not None:
                # Past the registration of modules: the network has no other parts, and no other state, than before.
                object.__setattr__(backbone, "instead", FoldedLayers(layers, dtype))
                changed.append(backbone)
        yield bool(changed)
    finally:
        for backbone in changed:
            del backbone.instead


@torch.no_grad()
def fold(layers: Sequence[nn.Module], dtype: torch.dtype) -> list[nn.Module] | None:
    """The layers as modules without parameters, with batch norm folded into the layer before it; None if it cannot be.

    layers: applied one after another; both ways of a `Residual` are folded by themselves.
    dtype: of the weights, and of the images that go in.
    """
    if any(isinstance(layer, BatchNorm) and not _is_affine(layer) for layer in layers):
        return None
    found: list[nn.Module] = []
    for before, layer, after in zip([None, *layers], layers, [*layers[1:], None], strict=False):
        if isinstance(layer, nn.Conv2d | nn.Linear):
            found.append(_affine(layer, after if isinstance(after, BatchNorm) else None, dtype))
        elif isinstance(layer, BatchNorm):
            if not isinstance(before, nn.Conv2d | nn.Linear):
                return None
        elif isinstance(layer, Residual):
            ways = [fold(list(way), dtype) for way in (layer.body, layer.shortcut)]
            if any(way is None for way in ways):
                return None
            body, shortcut = (way or [] for way in ways)
            found.append(Residual(body, shortcut).train(layer.training))
        elif layer.state_dict():
            return None
        else:
            found.append(layer)
    return found


def _is_affine(norm: BatchNorm) -> bool:
    """True if a batch norm maps each image by itself."""
    return not norm.training and norm.running_mean is not None and norm.running_var is not None


def _affine(layer: nn.Conv2d | nn.Linear, norm: BatchNorm | None, dtype: torch.dtype) -> FoldedLayer:
    weight, bias = layer.weight, layer.bias
    if norm is not None:
        mean, variance = norm.running_mean, norm.running_var
        assert mean is not None
        assert variance is not None
        scale = torch.rsqrt(variance + norm.eps)
        if norm.weight is not None:
            scale = scale * norm.weight
        shift = -mean * scale if bias is None else (bias - mean) * scale
        bias = shift if norm.bias is None else shift + norm.bias
        weight = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
    # In the memory format of the layer: another one makes every convolution slow.
    weight = torch.empty_like(layer.weight, dtype=dtype, requires_grad=False).copy_(weight)
    return FoldedLayer(layer, weight, None if bias is None else bias.detach().to(dtype))


class FoldedLayer(nn.Module):
    """A convolution or linear layer with weights of another one's shape. They are buffers: no gradient reaches them."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, layer: nn.Conv2d | nn.Linear, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        self.geometry: tuple[Any, ...] | None = None
        self.padded: nn.Conv2d | None = None
        if isinstance(layer, nn.Conv2d):
            self.geometry = (layer.stride, layer.padding, layer.dilation, layer.groups)
            if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
                self.padded = layer

    def forward(self, images: Tensor) -> Tensor:
        if self.padded is not None:
            return self.padded._conv_forward(images, self.weight, self.bias)
        if self.geometry is not None:
            return F.conv2d(images, self.weight, self.bias, *self.geometry)
        return F.linear(images, self.weight, self.bias)


class FoldedLayers(nn.Module):
    """Layers one after another in a precision of their own; features come out in the images' dtype.

    layers: from `fold`.
    dtype: of their weights.
    """

    def __init__(self, layers: Sequence[nn.Module], dtype: torch.dtype) -> None:
        super().__init__()
        self.layers, self.dtype = nn.ModuleList(layers), dtype

    def forward(self, images: Tensor) -> Tensor:
        features = images.to(self.dtype)
        for layer in self.layers:
            features = layer(features)
        return features.to(images.dtype)


def folded_copy(network: nn.Module, dtype: torch.dtype) -> nn.Module | None:
    """A copy of a network whose backbones run on folded copies of their weights for good; None if none of them can be folded.

    network: in the mode in which the copy is to be asked. Its answers are of the images' dtype; no gradient reaches a weight.
    dtype: of the folded weights and of what lies between them.
    """
    copied = copy.deepcopy(network).requires_grad_(False)
    changed = False
    for module in copied.modules():
        if isinstance(module, Backbone) and (layers := fold(list(module.layers), dtype)) is not None:
            # Modules and buffers, and nothing else: what captures attacks can tell that two copies are alike but for these.
            module.layers = FoldedLayers(layers, dtype).eval()
            changed = True
    return copied if changed else None
