"""Layers with batch norm folded in: what an attack on a network in eval mode needs of it, in another precision.

In eval mode batch norm is affine, so it is part of the convolution or linear layer before it (Jacob et al. 2018, section 3.2).
Exact but for rounding.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.backbones import Backbone, BatchNorm

Layer = Callable[[Tensor], Tensor]


@contextmanager
def folded(network: nn.Module, dtype: torch.dtype) -> Iterator[bool]:
    """Let the backbones of a network run on folded copies of their weights, as they are now. The value: True if any does.

    network: its gradients with respect to weights are not to be had inside the block.
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
                backbone.instead = _in_turn(layers, dtype)
                changed.append(backbone)
        yield bool(changed)
    finally:
        for backbone in changed:
            del backbone.instead


@torch.no_grad()
def fold(layers: Sequence[nn.Module], dtype: torch.dtype) -> list[Layer] | None:
    """The layers as functions, with batch norm folded into the layer before it; None if it cannot be.

    layers: applied one after another.
    dtype: of the weights of the functions, and of their images.
    """
    if any(isinstance(layer, BatchNorm) and not _is_affine(layer) for layer in layers):
        return None
    found: list[Layer] = []
    for before, layer, after in zip([None, *layers], layers, [*layers[1:], None], strict=False):
        if isinstance(layer, nn.Conv2d | nn.Linear):
            found.append(_affine(layer, after if isinstance(after, BatchNorm) else None, dtype))
        elif isinstance(layer, BatchNorm):
            if not isinstance(before, nn.Conv2d | nn.Linear):
                return None
        elif layer.state_dict():
            return None
        else:
            found.append(layer)
    return found


def _is_affine(norm: BatchNorm) -> bool:
    """True if a batch norm maps each image by itself."""
    return not norm.training and norm.running_mean is not None and norm.running_var is not None


def _affine(layer: nn.Conv2d | nn.Linear, norm: BatchNorm | None, dtype: torch.dtype) -> Layer:
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
    given = None if bias is None else bias.detach().to(dtype)
    if isinstance(layer, nn.Linear):
        return lambda images: F.linear(images, weight, given)
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        return lambda images: layer._conv_forward(images, weight, given)
    geometry = (layer.stride, layer.padding, layer.dilation, layer.groups)
    return lambda images: F.conv2d(images, weight, given, *geometry)


def _in_turn(layers: Sequence[Layer], dtype: torch.dtype) -> Layer:
    def run(images: Tensor) -> Tensor:
        features = images.to(dtype)
        for layer in layers:
            features = layer(features)
        return features.to(images.dtype)

    return run


def folded_copy(network: nn.Module, dtype: torch.dtype) -> nn.Module | None:
    """A copy of a network whose backbones run on folded copies of their weights for good; None if none of them can be folded.

    network: in the mode in which the copy is to be asked. Its answers are of the images' dtype; no gradient reaches a weight.
    dtype: of the folded weights and of what lies between them.
    """
    copied = copy.deepcopy(network).requires_grad_(False)
    changed = False
    for module in copied.modules():
        if isinstance(module, Backbone) and (layers := fold(list(module.layers), dtype)) is not None:
            module.instead = _in_turn(layers, dtype)
            changed = True
    return copied if changed else None
