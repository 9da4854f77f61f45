"""Initial weights, drawn from a generator."""

from __future__ import annotations

import torch
from torch import nn

from methods.backbones.heads import MultiHead

HEAD_STD = 0.01
"""Standard deviation of a head's initial weights."""


def initialise(network: MultiHead, generator: torch.Generator) -> None:
    """Draw initial weights as CPG does.

    Convolutions: Kaiming-normal, fan-out.
    Heads: N(0, 0.01).
    Linear layers: N(0, `linear_std`), 0.01 for VGG16-BN at width 1; without a `linear_std` Kaiming-normal, fan-in.
    Biases: 0. Batch norm: (1, 0).

    Everything is drawn on the CPU from `generator`, so that a seed means the same weights on every device.
    """
    heads = set(network.heads)
    for module in network.modules():
        if not isinstance(module, nn.Conv2d | nn.Linear):
            continue
        weight = torch.empty(module.weight.shape)
        std = HEAD_STD if module in heads else network.backbone.linear_std
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu", generator=generator)
        elif std is None:
            nn.init.kaiming_normal_(weight, mode="fan_in", nonlinearity="relu", generator=generator)
        else:
            nn.init.normal_(weight, 0.0, std, generator=generator)
        module.weight.data.copy_(weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
