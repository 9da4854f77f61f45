"""The threat model: what the attacker may change. Exact numbers, because eps is part of an evaluation's identity."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

BALL_TOLERANCE = 1e-6
"""Slack when the largest change is compared with eps: x + eps is rounded to float32, which is far finer than this."""


class ThreatModelError(ValueError):
    """A norm, eps or step size that makes no sense; the message is one line with what would be right."""


def parse_fraction(value: str | int | float | Fraction, eps: Fraction | None = None) -> Fraction:
    """An exact number from "8/255", "12.75/255", "0.1", 1, "eps/4", "2 eps" or "0.5*eps" (the last three need `eps`).

    Raises ThreatModelError for anything else.
    """
    if isinstance(value, int | Fraction) and not isinstance(value, bool):
        return Fraction(value)
    text = str(value).strip()
    relative = re.fullmatch(r"(?P<factor>[\d./]+)?\s*\*?\s*eps\s*(?:/\s*(?P<divisor>\d+))?", text)
    try:
        if relative is None:
            numerator, slash, denominator = text.partition("/")
            return Fraction(numerator) / (Fraction(denominator) if slash else 1)
        if eps is None:
            raise ThreatModelError(
                f"{text!r} refers to eps, which is not known here; write it as a number such as 2/255"
            )
        return Fraction(relative["factor"] or 1) * eps / Fraction(relative["divisor"] or 1)
    except (ValueError, ZeroDivisionError) as error:
        if isinstance(error, ThreatModelError):
            raise
        raise ThreatModelError(f"{text!r} is not a number such as 8/255, 0.1 or eps/4") from None


def over_255(value: Fraction) -> str:
    """A fraction as people write it in this field: Fraction(8, 255) → "8/255", Fraction(1, 20) → "12.75/255"."""
    scaled = value * 255
    return f"{scaled.numerator}/255" if scaled.denominator == 1 else f"{float(scaled):.6g}/255"


@dataclass(frozen=True, slots=True)
class ThreatModel:
    """Changes of at most `eps` in `norm`, in pixel space [0, 1], that stay valid images.

    eps: exact, 0 ≤ eps ≤ 1 (anything `parse_fraction` reads becomes a Fraction). Raises ThreatModelError otherwise.
    """

    eps: Fraction
    norm: str = "linf"

    def __post_init__(self) -> None:
        object.__setattr__(self, "eps", parse_fraction(self.eps))
        if self.norm not in ("linf",):
            raise ThreatModelError(f"norm {self.norm!r} is not known; valid: linf")
        if not 0 <= self.eps <= 1:
            raise ThreatModelError(f"eps = {self.eps} is outside 0..1 (pixels are in [0, 1]; write 8/255, not 8)")

    def __str__(self) -> str:
        return f"{self.norm} {over_255(self.eps)}"

    def bounds(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Smallest and largest allowed images, ball and box at once: two float tensors like `images` (N, C, H, W)."""
        eps = float(self.eps)
        return (images - eps).clamp_(0, 1), (images + eps).clamp_(0, 1)

    def largest_change(self, adversarial: Tensor, images: Tensor) -> Tensor:
        """The norm of each image's change: float (N,)."""
        return (adversarial - images).abs().flatten(1).amax(1)

    def check(self, adversarial: Tensor, images: Tensor) -> None:
        """Raise ThreatModelError unless every adversarial image is in the ball around its image and in [0, 1]."""
        if len(images) == 0:
            return
        # One number per condition and one transfer to the host; NaN fails both comparisons.
        change = (adversarial - images).abs().amax()
        low, high = torch.aminmax(adversarial)
        change_, low_, high_ = torch.stack([change, low, high]).tolist()
        if not change_ <= float(self.eps) + BALL_TOLERANCE:
            raise ThreatModelError(f"adversarial images change a pixel by {change_:.6f}, more than eps = {self}")
        if not (low_ >= 0 and high_ <= 1):
            raise ThreatModelError(f"adversarial images reach {low_:.6f} .. {high_:.6f}, outside [0, 1]")
