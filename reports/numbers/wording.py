"""Numbers as text, and text as exact numbers."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from attacks.fractions import ThreatModelError, parse_fraction
from attacks.fractions import over_255 as over_255


def counted(number: int, noun: str) -> str:
    """`1 part`, `12 parts`, `1,200 parts`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def fraction(text: Any) -> Fraction | None:
    """The exact number in stored text such as "8/255"; None if there is none, or if no measurement has a number of its size."""
    try:
        return parse_fraction(str(text))
    except ThreatModelError:
        return None


def in_eps(ratio: Fraction | None) -> str:
    """A multiple of eps: `eps/4`, `3eps/2`; `n/a` for None."""
    if ratio is None:
        return "n/a"
    factor = "" if ratio.numerator == 1 else f"{ratio.numerator}"
    return f"{factor}eps" + ("" if ratio.denominator == 1 else f"/{ratio.denominator}")


def first_of(names: Sequence[str], most: int = 3) -> str:
    """The first `most` names, and how many more there are: `a, b, c and 7 more`."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
