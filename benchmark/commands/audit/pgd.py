"""PGD of every audited protocol: canonical and thesis differ in the bounds and the step size, and in nothing else.

It runs in pixels. There eps and the step size of normalised space are multiplied by each channel's standard deviation, and the
box [0, 1] of normalised space is [mean, mean + std].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from attacks.base import Outcome, is_worse, outcome_of, worse
from attacks.parts.ascent import step
from attacks.parts.losses import find_loss
from attacks.threat_model import parse_fraction
from benchmark.commands.audit.switches import Space, TrainingProtocol

VERSION = 1
"""Part of every stored outcome, and of every audited run: raised whenever the same fields would give other images."""


@dataclass(frozen=True)
class Geometry:
    """The ball and the box of adversarial images, and the size of a step.

    space: the units of eps and step_size, pixels in [0, 1] or the network's normalised input.
    box: the range that images are clamped to, [0, 1] in pixels or in normalised space.
    random_start: False to start from the image itself.
    """

    space: Space
    box: Space
    eps: Fraction
    step_size: Fraction
    random_start: bool = True

    @staticmethod
    def of(protocol: TrainingProtocol, preset_eps: Fraction, box: Space) -> Geometry:
        """The geometry of a protocol. preset_eps: in pixels, in [0, 1]. box: that of training or that of evaluation."""
        eps = parse_fraction(protocol.eps, preset_eps)
        return Geometry(protocol.eps_space, box, eps, parse_fraction(protocol.step_size, eps), protocol.random_start)

    def scaled(self, value: Fraction, std: Tensor) -> float | Tensor:
        """A length of `space` in pixels: a number, or one per channel (1, C, 1, 1)."""
        return float(value) if self.space == "pixels" else float(value) * std

    def bounds(self, images: Tensor, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
        """The smallest and the largest value of each pixel: (N, C, H, W) each. mean, std: the network's, (1, C, 1, 1).

        The ball comes first and the box last, as in the published attack. With a box in normalised space they often do not meet;
        then both bounds are the value of the box that is nearest to the ball, however far from it.
        """
        eps = self.scaled(self.eps, std)
        if self.box == "pixels":
            return (images - eps).clamp_(0, 1), (images + eps).clamp_(0, 1)
        return (images - eps).clamp_(mean, mean + std), (images + eps).clamp_(mean, mean + std)

    def start(self, images: Tensor, noise: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        """The point that an attack starts from: (N, C, H, W). noise: (N, C, H, W) in [-1, 1)."""
        lower, upper = self.bounds(images, mean, std)
        if not self.random_start:
            return images.clamp(lower, upper)
        return (noise * self.scaled(self.eps, std)).add_(images).clamp_(lower, upper)

    def to_json(self) -> dict[str, str | bool]:
        return {
            "space": self.space, "box": self.box, "eps": str(self.eps), "step_size": str(self.step_size),
            "random_start": self.random_start,
        }  # fmt: skip


@dataclass(frozen=True)
class Walk:
    """The outcomes of a walk: at its last iterate (`final`) and the worst of all iterates (`any`), and the images of both."""

    final: Outcome
    any: Outcome
    last: Tensor
    worst: Tensor


def walk(
    logits: Callable[[Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    noise: Tensor,
    geometry: Geometry,
    normalisation: tuple[Tensor, Tensor],
    *,
    steps: int,
    loss: str = "ce",
) -> Walk:
    """Take `steps` steps of PGD; iterates count from 0, the start.

    logits: the network. images: float (N, C, H, W) in [0, 1]. labels: int64 (N,). noise: (N, C, H, W) in [-1, 1), for the start.
    normalisation: mean and standard deviation of the network, (1, C, 1, 1) each. loss: one of `attacks.parts.losses`.
    """
    mean, std = normalisation
    lower, upper = geometry.bounds(images, mean, std)
    size, climb = geometry.scaled(geometry.step_size, std), find_loss(loss)
    points = geometry.start(images, noise, mean, std)
    any_: Outcome | None = None
    worst = points
    for number in range(steps + 1):
        point = points.detach().requires_grad_()
        with torch.enable_grad():
            output = logits(point)
            losses = climb(output, labels)
        final = outcome_of(output.detach(), labels)
        if any_ is None:
            any_ = final
        else:
            take = is_worse(any_, final, labels)
            any_, worst = worse(any_, final, labels), torch.where(take[:, None, None, None], points, worst)
        if number < steps:
            (gradient,) = torch.autograd.grad(losses.sum(), point)
            points = step(points, gradient, lower, upper, size)
    assert any_ is not None
    return Walk(final, any_, points, worst)
