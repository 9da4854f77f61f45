"""TRADES as an objective: clean accuracy, and predictions that stay the same inside the ball (Zhang et al. 2019)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from methods.training.inner_attack import Batch, InnerAttack, Logits
from methods.training.objectives import AlgorithmSettings, Objective, cross_entropy
from methods.training.recipe import Recipe

START_STD = 0.001
"""Zhang et al. 2019, algorithm 1: the attack starts near the image, from normal noise of this deviation."""


class TradesLoss(Objective):
    """min CE(x) + beta · KL(p(x) ‖ p(x')), x' = argmax KL in the ball (eq. 5). The weights' gradient goes through both p.

    beta: above 0, 1/lambda in the paper.
    """

    def __init__(self, beta: float) -> None:
        self.beta = beta

    def passes(self, recipe: Recipe) -> float:
        return 2 * recipe.attack.steps + 1 + 2 * 3

    def loss(self, logits: Logits, batch: Batch, attack: InnerAttack) -> tuple[Tensor, Tensor]:
        adversarial = self._attack(logits, batch.images, attack)
        clean, output = logits(batch.images), logits(adversarial)
        apart = divergence(clean, output, batch.weights) / len(output)
        return cross_entropy(clean, batch) + self.beta * apart, output

    def _attack(self, logits: Logits, images: Tensor, attack: InnerAttack) -> Tensor:
        noise = torch.randn(images.shape, device=images.device, generator=attack.generator)
        with attack.own_mode():
            with torch.no_grad():
                clean = logits(images)
            return attack(images, lambda point: divergence(clean, logits(point)), start=images + START_STD * noise)


def divergence(clean: Tensor, adversarial: Tensor, weights: Tensor | None = None) -> Tensor:
    """KL(p ‖ p') of softmaxed logits float (N, classes), summed over classes and images: a scalar.

    weights: float (N,), the factor of each image; None: 1.

    A logit of -inf, a class that the image's task does not have where tasks share a batch, adds nothing.
    """
    lacking = clean.isneginf()
    p, q = (F.log_softmax(logits, 1).masked_fill(lacking, 0.0) for logits in (clean, adversarial))
    apart = p.exp() * (p - q)
    return (apart if weights is None else weights[:, None] * apart).sum()


class TradesSettings(AlgorithmSettings):
    """Defaults: Zhang et al. 2019, section 5 (1/lambda = 6 on CIFAR-10)."""

    beta: float = Field(6.0, gt=0, description="weight of the divergence between predictions (1/lambda in the paper)")

    def objective(self) -> Objective:
        return TradesLoss(self.beta)
