"""A check that a network can be masked: that its images pass through the masked layers, which use their weights as they are."""

from __future__ import annotations

import torch
from torch import Tensor

from attacks.parts.guard import modes_kept
from methods.parts.stochastic_masks import MaskedNetwork

APART = 0.05
"""Logits of the masked and of the plain network may differ by this share of the largest: far above rounding, on a GPU too."""


@torch.no_grad()
def check_maskable(network: MaskedNetwork, images: Tensor) -> None:
    """Raise ValueError, one line, unless masks reach every layer and can be made part of the weights.

    images: float (N, C, H, W) in [0, 1], one or more.

    This finds layers whose module is not called, weights that are standardised before use, and rows that are no images. The
    network keeps its modes, and its own generator is not drawn from.
    """
    with modes_kept(network):
        network.eval()
        drawn = {name: mask.mean().expand(len(images), -1) for name, mask in network.masks.by_layer()}
        masked, features = network.passed(images, drawn)
        plain = network.materialise()(images)
    if not features:
        raise ValueError("it has no activation whose output is a latent feature")
    if float((masked - plain).abs().max()) > APART * float(plain.abs().max()):
        raise ValueError("its layers do not all use their weights as they are, so masks cannot be made part of them")
