"""Input gradient regularisation as an objective: a loss that hardly changes when the image does (Ross and Doshi-Velez 2018)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from methods.training.inner_attack import Batch, InnerAttack, Logits
from methods.training.objectives import AlgorithmSettings, Objective, cross_entropy
from methods.training.recipe import Recipe


class InputGradientPenalty(Objective):
    """min CE(x) + lambda · ‖∂CE(x)/∂x‖², both means over images; no attack. The penalty is differentiated a second time.

    weight: lambda. Gradients are with respect to pixels in [0, 1].
    """

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def passes(self, recipe: Recipe) -> float:
        # Forwards, a gradient for the image, and one for the weights through both.
        return 3 + 2 * 3

    def image_gradients(self, recipe: Recipe) -> int:
        return 1

    def loss(self, logits: Logits, batch: Batch, attack: InnerAttack) -> tuple[Tensor, Tensor]:
        images = batch.images.detach().requires_grad_()
        # Fused attention has no second derivative.
        with sdpa_kernel(SDPBackend.MATH):
            output = logits(images)
        summed = F.cross_entropy(output, batch.labels, reduction="sum")
        (gradient,) = torch.autograd.grad(summed, images, create_graph=True)
        penalties = gradient.flatten(1).square().sum(1)
        if batch.weights is not None:
            penalties = penalties * batch.weights
        return cross_entropy(output, batch) + self.weight * penalties.mean(), output


class InputGradientSettings(AlgorithmSettings):
    """Default: lambda 50 at batch 32 of double gradient projection (Ru et al. 2024), as a review quotes it, in our units.

    It is read as code has it, of the gradient of a batch's mean loss (50/32 of a mean over images), for images of unit variance
    (in [0, 1] that of CIFAR is about 1/15, so gradients are four times as large). Both are guesses. A mean over images times 50,
    for pixels in [0, 1], diverges on digits.
    """

    weight: float = Field(
        0.1, ge=0, description="weight of an image's squared gradient (lambda in the paper); 0: clean training"
    )

    def objective(self) -> Objective:
        return InputGradientPenalty(self.weight)
