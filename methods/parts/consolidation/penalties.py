"""A quadratic penalty on moving weights, and the objective that minimises it beside another one.

EWC and SI differ in how stiffly each weight is held; the penalty is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from methods.training import AroundObjective, Batch, InnerAttack, Logits, Objective


class QuadraticPenalty:
    """½ · sum of k · (θ - θ*)², over the entries of some parameters.

    parameters: θ.
    stiffness: k of each parameter, float tensors like them, 0 or more.

    θ* is where the parameters are now.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], stiffness: Sequence[Tensor]) -> None:
        self.parameters, self.stiffness = list(parameters), list(stiffness)
        self.anchors = [parameter.detach().clone() for parameter in parameters]

    def value(self) -> Tensor:
        """The penalty as a scalar, through which gradients reach the parameters."""
        found: Tensor = _Quadratic.apply(self.anchors, self.stiffness, *self.parameters)
        return found

    @torch.no_grad()
    def gradients(self) -> list[Tensor]:
        """The penalty's gradient, k · (θ - θ*), of each parameter."""
        return _pulls(self.parameters, self.anchors, self.stiffness)


def _pulls(parameters: Sequence[Tensor], anchors: Sequence[Tensor], stiffness: Sequence[Tensor]) -> list[Tensor]:
    pulls = torch._foreach_sub(parameters, anchors)
    torch._foreach_mul_(pulls, stiffness)
    return list(pulls)


class _Quadratic(torch.autograd.Function):
    """The penalty and its gradient in a few kernels for all parameters together; autograd would take some for each."""

    @staticmethod
    def forward(ctx: Any, anchors: list[Tensor], stiffness: list[Tensor], *parameters: Tensor) -> Tensor:
        ctx.pulls = _pulls(parameters, anchors, stiffness)
        moved = torch._foreach_sub(parameters, anchors)
        torch._foreach_mul_(moved, ctx.pulls)
        # No entry is negative, so that norms are sums.
        return 0.5 * torch.stack(torch._foreach_norm(moved, 1)).sum()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return None, None, *torch._foreach_mul(ctx.pulls, gradients[0])


class PenalisedObjective(AroundObjective):
    """Another objective's loss plus a penalty, which knows no image."""

    def __init__(self, inner: Objective, penalty: QuadraticPenalty) -> None:
        super().__init__(inner)
        self.penalty = penalty

    def loss(self, logits: Logits, batch: Batch, attack: InnerAttack) -> tuple[Tensor, Tensor]:
        loss, output = self.inner.loss(logits, batch, attack)
        return loss + self.penalty.value(), output
