"""Free adversarial training as an objective: one gradient moves weights and perturbation (Shafahi et al. 2019)."""

from __future__ import annotations

from fractions import Fraction

import torch
from pydantic import Field
from torch import Tensor

from attacks.threat_model import parse_fraction
from methods.training.inner_attack import Batch, InnerAttack, Logits
from methods.training.objectives import AlgorithmSettings, Objective, cross_entropy
from methods.training.recipe import Recipe, StepSize


class FreeTraining(Objective):
    """Every minibatch is trained on several times in a row, under one perturbation that each backward pass moves (algorithm 1).

    replays: how many times (m in the paper).
    step_size: how far a backward pass moves the perturbation: a number such as 8/255, or a multiple of eps.

    The perturbation is shaped like a batch, starts at zero, and is carried from step to step and from minibatch to minibatch; a
    step that goes in parts has one for each. An epoch has as many steps as under any objective, so it sees a `replays`-th of the
    images: "epochs / m" of the paper.
    """

    def __init__(self, replays: int, step_size: str) -> None:
        self.replays = replays
        self._step_size = step_size
        self._perturbations: dict[int, Tensor] = {}

    def passes(self, recipe: Recipe) -> float:
        return 3

    def image_gradients(self, recipe: Recipe) -> int:
        return 1

    def loss(self, logits: Logits, batch: Batch, attack: InnerAttack) -> tuple[Tensor, Tensor]:
        if batch.first not in self._perturbations:
            self._perturbations[batch.first] = torch.zeros_like(batch.images)
        self._perturbation = self._perturbations[batch.first]
        lower, upper = attack.threat_model.bounds(batch.images)
        self._point = (batch.images + self._perturbation).clamp(lower, upper).requires_grad_()
        output = logits(self._point)
        return cross_entropy(output, batch), output

    @torch.no_grad()
    def after_backward(self, attack: InnerAttack) -> None:
        assert self._point.grad is not None
        eps = attack.threat_model.eps
        step = float(parse_fraction(self._step_size, Fraction(eps)))
        self._perturbation.add_(self._point.grad.sign(), alpha=step).clamp_(-float(eps), float(eps))


class FreeSettings(AlgorithmSettings):
    """Defaults: Shafahi et al. 2019, section 4 (m = 8, a step as large as the ball)."""

    replays: int = Field(8, ge=1, description="how often a minibatch is trained on in a row (m in the paper)")
    step_size: StepSize = Field("eps", description="how far one step moves the perturbation")

    def objective(self) -> Objective:
        return FreeTraining(self.replays, self.step_size)
