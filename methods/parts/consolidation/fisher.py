"""The diagonal of the Fisher information of a classifier's weights, from the gradient of each image by itself."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from attacks.memory import activation_bytes, fitting_rows, free_bytes

FisherLabels = Literal["sampled", "exact", "true"]
"""The labels whose log-likelihood is differentiated: one drawn from the network's prediction, all of them weighted by it, or the
images' own, which gives the empirical Fisher information."""

MOST_ROWS = 32
"""Images whose gradients are taken at once, where memory allows: each gradient is as large as the network."""


@torch.no_grad()
def fisher_information(
    network: nn.Module,
    names: Collection[str],
    images: Tensor,
    labels: Tensor,
    kind: FisherLabels,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """The mean over images of (∂ log p(y | x) / ∂θ)², by name of the parameter: float tensors like them, 0 or more.

    network: a classifier in eval mode, in which an image's logits are its own; it stays as it is.
    names: of the parameters.
    images: float (N, C, H, W) in [0, 1], attacked or not.
    labels: int64 (N,), for kind `true` alone.
    generator: for kind `sampled` alone, on the images' device.

    Kirkpatrick et al. 2017, eq. 3. The square is taken image by image: that of a batch's mean gradient is another thing (van de
    Ven 2025).
    """
    weights = {name: network.get_parameter(name).detach() for name in names}

    def loss(given: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(network, given, (image[None],)), label[None])

    by_image = vmap(grad(loss), in_dims=(None, 0, 0))
    total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    rows = _rows(network, images, weights)
    for part, own in zip(images.split(rows), labels.split(rows), strict=True):
        for label, share in _asked(network, part, own, kind, generator):
            for name, gradients in by_image(weights, part, label).items():
                total[name] += torch.tensordot(share, gradients.square_(), 1)
    return {name: tensor / len(images) for name, tensor in total.items()}


def _asked(
    network: nn.Module, images: Tensor, labels: Tensor, kind: FisherLabels, generator: torch.Generator
) -> list[tuple[Tensor, Tensor]]:
    """The labels int64 (N,) to ask about, one tensor after another, each with the weights float (N,) that they have."""
    if kind == "true":
        return [(labels, torch.ones(len(images), device=images.device))]
    predicted = network(images).softmax(1)
    if kind == "sampled":
        drawn = torch.multinomial(predicted, 1, generator=generator)[:, 0]
        return [(drawn, torch.ones_like(predicted[:, 0]))]
    return [(torch.full_like(labels, label), predicted[:, label]) for label in range(predicted.shape[1])]


def _rows(network: nn.Module, images: Tensor, weights: dict[str, Tensor]) -> int:
    """Images whose gradients are taken at once."""
    # The gradient of an image, its square, and what either is made in.
    gradient = 3 * sum(tensor.nbytes for tensor in weights.values())
    return fitting_rows(MOST_ROWS, activation_bytes(network, images) + gradient, free_bytes(images.device))
