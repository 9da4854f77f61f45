"""Averaged gradient episodic memory, trained adversarially: no step goes against old images (Chaudhry et al. 2019)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Self

import torch
from pydantic import model_validator
from torch import Tensor, nn

from methods.parts.replay import Replay, ReplayingObjective
from methods.strategies.rehearsal import Rehearsal, RehearsalSettings
from methods.training import Batch, Fit, InnerAttack, Logits, Objective


class ReferenceGradient(ReplayingObjective):
    """The inner objective on the stream alone; its gradient is projected where it goes against that on old images (eq. 11).

    The gradient on old images is taken first, at the same weights and in train mode. Both gradients are of a whole step: a step
    that goes in parts adds up both.

    reference: the gradient on old images, one vector over all parameters; only its direction counts.
    """

    def __init__(
        self,
        inner: Objective,
        replay: Replay,
        logits_of: Callable[[Batch], Logits],
        parameters: Sequence[nn.Parameter],
    ) -> None:
        super().__init__(inner, replay, logits_of)
        self._parameters = parameters
        self.reference = flat(torch.zeros_like(parameter) for parameter in parameters)

    def loss(self, logits: Logits, batch: Batch, attack: InnerAttack) -> tuple[Tensor, Tensor]:
        old, _ = self.replay.draw(batch)
        loss, _ = self.inner.loss(self.logits_of(old), old, attack)
        gradient = torch.autograd.grad(
            loss * len(batch.labels), self._parameters, allow_unused=True, materialize_grads=True
        )
        if batch.first == 0:
            self.reference.copy_(flat(gradient))
        else:
            self.reference.add_(flat(gradient))
        return self.inner.loss(logits, batch, attack)

    @torch.no_grad()
    def project(self) -> None:
        """Take out of the gradients of all parameters what goes against the reference."""
        found = [
            torch.zeros_like(parameter) if parameter.grad is None else parameter.grad for parameter in self._parameters
        ]
        share = against(flat(found), self.reference)
        start = 0
        for parameter, gradient in zip(self._parameters, found, strict=True):
            reference = self.reference[start : start + gradient.numel()].view(gradient.shape)
            start += gradient.numel()
            parameter.grad = gradient.sub_(share * reference)


def against(gradient: Tensor, reference: Tensor) -> Tensor:
    """The factor of the reference that is to be taken out of a gradient: 0 where they agree, a scalar below 0 otherwise.

    gradient, reference: float (P,). A reference of 0 has no direction: 0.
    """
    product, square = gradient.dot(reference), reference.dot(reference)
    return torch.where((product < 0) & (square > 0), product / square, torch.zeros_like(product))


def flat(tensors: Iterable[Tensor]) -> Tensor:
    """Tensors as one vector."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


class AGEM(Rehearsal):
    """One network; a gradient that goes against the gradient on old images is projected, so that it does not (A-GEM).

    Section 4, eq. 11. All parameters are one vector, heads of old tasks included, and the projection is a `where`. Old images and
    new ones go through the network apart, old ones first, both in train mode, so batch norm's statistics see both.

    Deviations: old images are kept in a reservoir, which is filled when a task is over (`Rehearsal`), and not in a ring for each
    class. The paper passes over the stream once and draws 256 old images beside 10 new ones. Its optimiser has neither weight
    decay nor momentum: a recipe's come after the projection, so with them a step may go against the reference. Under attack,
    which the paper has not, both gradients are those of the inner objective, each on its own attacked images.
    """

    version = 1
    paper = "Chaudhry et al. 2019, Efficient Lifelong Learning with A-GEM"
    # A single image has no batch statistics where maps end at 1x1.
    least_drawn = 2

    class Settings(RehearsalSettings):
        """As of rehearsal."""

        @model_validator(mode="after")
        def _check_capacity(self) -> Self:
            if self.capacity == 1:
                raise ValueError(
                    "capacity = 1: old images go through batch norm by themselves, which needs two; keep none, or two or more"
                )
            return self

    def replaying(self, fit: Fit, replay: Replay) -> Fit:
        objective = ReferenceGradient(fit.objective, replay, self.logits, fit.parameters)
        return replace(fit, objective=objective, after_backward=objective.project)
