"""The threat model: the changes that the attacker may make. Exact numbers, because eps is part of an evaluation's identity.

A plug-in imports from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from attacks.fractions import LARGEST_EPS, SMALLEST_EPS, ThreatModelError, over_255, parse_fraction

__all__ = [
    "BALL_TOLERANCE",
    "LARGEST_EPS",
    "SMALLEST_EPS",
    "SMALLEST_NORM",
    "Ball",
    "ThreatModel",
    "ThreatModelError",
    "l2_norm",
    "largest_allowed",
    "over_255",
    "parse_fraction",
]

BALL_TOLERANCE = 1e-6
"""Slack when the largest change is compared with eps: x + eps is rounded to float32, which is far finer than this."""

SMALLEST_NORM = 1e-12
"""The smallest divisor that a norm is taken for: a change of zero stays zero."""


def largest_allowed(eps: float) -> float:
    """The largest change that passes as within eps, in the norm of eps: eps with the slack of rounding to float32."""
    return eps + BALL_TOLERANCE * max(1.0, eps)


def l2_norm(change: Tensor) -> Tensor:
    """The Euclidean norm of each image's change, kept broadcastable: (N, 1, 1, 1) from (N, C, H, W)."""
    return change.flatten(1).norm(dim=1)[:, None, None, None]


@dataclass(frozen=True, slots=True)
class ThreatModel:
    """Changes of at most `eps` in `norm`, in pixel space [0, 1], that stay valid images.

    eps: exact, 0 ≤ eps ≤ 1 for linf, 0 ≤ eps ≤ 64 for l2, and 0 or at least `SMALLEST_EPS`; anything that `parse_fraction` reads
        becomes a Fraction.
    norm: linf (largest change of a pixel) or l2 (Euclidean, over all pixels and channels).

    Raises ThreatModelError otherwise.
    """

    eps: Fraction
    norm: str = "linf"

    def __post_init__(self) -> None:
        object.__setattr__(self, "eps", parse_fraction(self.eps))
        if self.norm not in LARGEST_EPS:
            raise ThreatModelError(f"norm {self.norm!r} is not known; valid: {', '.join(LARGEST_EPS)}")
        if not 0 <= self.eps <= LARGEST_EPS[self.norm]:
            raise ThreatModelError(
                f"eps = {self.eps} is outside 0..{LARGEST_EPS[self.norm]} for {self.norm} "
                "(pixels are in [0, 1]; write 8/255, not 8)"
            )
        if 0 < self.eps < SMALLEST_EPS:
            raise ThreatModelError(
                f"eps = {float(self.eps):g} is too small to change a pixel: images are float32, and less than 2^-24 (6e-8) is "
                "lost beside 1; write 0 for no change, or a number such as 8/255"
            )

    def __str__(self) -> str:
        return f"{self.norm} {over_255(self.eps)}"

    @property
    def largest_allowed(self) -> float:
        """As the function `largest_allowed`, of this eps."""
        return largest_allowed(float(self.eps))

    def bounds(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The smallest and the largest allowed pixels: two float tensors like `images` (N, C, H, W).

        linf: of ball and box at once; l2: of the box alone.
        """
        if self.norm == "l2":
            return torch.zeros_like(images), torch.ones_like(images)
        eps = float(self.eps)
        return (images - eps).clamp_(0, 1), (images + eps).clamp_(0, 1)

    def ball(self, images: Tensor) -> Ball:
        """The balls in which adversarial images of `images`, float (N, C, H, W), lie."""
        return Ball.around(images, [self])

    def largest_change(self, adversarial: Tensor, images: Tensor) -> Tensor:
        """The norm of each image's change: float (N,)."""
        change = (adversarial - images).flatten(1)
        return change.norm(dim=1) if self.norm == "l2" else change.abs().amax(1)

    def check(self, adversarial: Tensor, images: Tensor) -> None:
        """Raise ThreatModelError unless every adversarial image is in the ball around its image and in [0, 1]."""
        if len(images) == 0:
            return
        # One number per condition and one transfer to the host; NaN fails both comparisons.
        extremes = [self.largest_change(adversarial, images).amax(), *torch.aminmax(adversarial)]
        change, low, high = torch.stack(extremes).tolist()
        if not change <= self.largest_allowed:
            what = "an image" if self.norm == "l2" else "a pixel"
            raise ThreatModelError(f"adversarial images change {what} by {change:.6f}, more than eps = {self}")
        if not (low >= 0 and high <= 1):
            raise ThreatModelError(f"adversarial images reach {low:.6f} .. {high:.6f}, outside [0, 1]")


@dataclass(frozen=True, slots=True)
class Ball:
    """The balls around a batch, cut to the box; radii may differ from row to row.

    norm: of all of them.
    images: float (N, C, H, W), the centres.
    eps: float (N, 1, 1, 1), the radii.
    lower, upper: float (N, C, H, W), as `ThreatModel.bounds` gives them.
    """

    norm: str
    images: Tensor
    eps: Tensor
    lower: Tensor
    upper: Tensor

    @classmethod
    def around(cls, images: Tensor, models: Sequence[ThreatModel]) -> Ball:
        """The balls of several threat models of one norm around the same images, one after another: len(models)·N rows."""
        parts = [model.bounds(images) for model in models]
        eps = [torch.full((len(images), 1, 1, 1), float(model.eps)).to(images) for model in models]
        rows = images.repeat(len(models), 1, 1, 1) if len(models) > 1 else images
        lower, upper = (torch.cat(part) if len(part) > 1 else part[0] for part in zip(*parts, strict=True))
        return cls(models[0].norm, rows, torch.cat(eps), lower, upper)

    def first(self, rows: int) -> Ball:
        """The balls of the first `rows` rows."""
        return Ball(self.norm, self.images[:rows], self.eps[:rows], self.lower[:rows], self.upper[:rows])

    def select(self, index: Tensor) -> Ball:
        """The balls of some rows: index int64 (M,) or bool (N,)."""
        return Ball(self.norm, self.images[index], self.eps[index], self.lower[index], self.upper[index])

    def project(self, points: Tensor) -> Tensor:
        """The nearest points of the ball, then of the box (which leads no further from the centre).

        points: float (N, C, H, W); the result is like them.
        """
        if self.norm == "l2":
            change = points - self.images
            shrink = (self.eps / l2_norm(change).clamp_min(SMALLEST_NORM)).clamp_max(1)
            points = self.images + change * shrink
        return points.clamp(self.lower, self.upper)

    def ascend(self, points: Tensor, gradient: Tensor, step_size: float | Tensor) -> Tensor:
        """Make one projected step of steepest ascent: along the gradient's sign (linf) or its direction (l2).

        points, gradient: float (N, C, H, W); the result is like the points. A zero gradient moves nothing.
        step_size: in the units of eps, a number or float (N, 1, 1, 1).
        """
        if self.norm == "l2":
            direction = gradient / l2_norm(gradient).clamp_min(SMALLEST_NORM)
            return self.project(direction.mul_(step_size).add_(points))
        return gradient.sign().mul_(step_size).add_(points).clamp_(self.lower, self.upper)
