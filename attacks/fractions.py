"""Exact numbers of threat models: read from text and written over 255. Without torch, so that reports can use them."""

from __future__ import annotations

import re
from fractions import Fraction

LARGEST_EPS = {"linf": 1, "l2": 64}
"""The largest eps of each norm. linf: every image is in reach. l2: more than the diagonal of 3x32x32 pixels, so that every such
image is too; less than an eps meant as 128/255."""


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


def over_255(value: Fraction | None) -> str:
    """A fraction as people write it in this field: Fraction(8, 255) → "8/255", Fraction(1, 20) → "12.75/255"; "" for None."""
    if value is None:
        return ""
    scaled = value * 255
    return f"{scaled.numerator}/255" if scaled.denominator == 1 else f"{float(scaled):.6g}/255"
