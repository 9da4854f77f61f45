"""Projected gradient ascent under linf and nothing else: the inner maximisation of adversarial training.

No weight gradients, no margins, no traces, no host synchronisation: the loop can be captured in a CUDA graph.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def step(images: Tensor, gradient: Tensor, lower: Tensor, upper: Tensor, step_size: float | Tensor) -> Tensor:
    """Make one signed step, projected (Madry et al. 2018, section 2.1). Pixels whose gradient is zero stay.

    images, gradient: float (N, C, H, W); the result is a new tensor like the images.
    lower, upper: float (N, C, H, W), ball and box at once, from `ThreatModel.bounds`.
    step_size: in units of pixels in [0, 1], a number or float (N, 1, 1, 1).
    """
    return gradient.sign().mul_(step_size).add_(images).clamp_(lower, upper)


def ascend(
    loss: Callable[[Tensor], Tensor],
    start: Tensor,
    lower: Tensor,
    upper: Tensor,
    step_size: float | Tensor,
    steps: int,
) -> Tensor:
    """Make `steps` steps of projected gradient ascent: float (N, C, H, W) in [lower, upper], detached.

    loss: images (N, C, H, W) → a scalar, summed over samples, so that a sample's path does not depend on its batch.
    start: float (N, C, H, W).
    lower, upper, step_size: as of `step`.

    Only the gradient with respect to the image is taken: parameters keep their `.grad`. Works under `torch.no_grad()`.
    Raises RuntimeError (from autograd) if the loss does not depend on the images.
    """
    images = start.detach()
    with torch.enable_grad():
        for _ in range(steps):
            point = images.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(loss(point), point)
            images = step(point.detach(), gradient, lower, upper, step_size)
    return images
