"""Exact numbers of threat models: read from text and written over 255. Without torch, so that reports can use them."""

from __future__ import annotations

import re
from collections.abc import Collection
from fractions import Fraction

LARGEST_EPS = {"linf": 1, "l2": 64}
"""The largest eps of each norm. linf: every image is in reach. l2: more than the diagonal of 3x32x32 pixels, so that every such
image is too; less than an eps meant as 128/255."""


class ThreatModelError(ValueError):
    """A norm, eps or step size that makes no sense; the message is one line with what would be right."""


LONGEST = 100
"""Characters of a number as text, at most. The exact value of a float is written with fewer."""
SMALLEST, LARGEST = Fraction(1, 10**30), Fraction(10**30)
"""Bounds of the size of a number that is not 0. Between them it is a float32, so it stays a number wherever it is used."""
SMALLEST_EPS = Fraction(1, 2**24)
"""The smallest eps above 0: the distance from 1 to the next smaller float32. Less than this changes no bright pixel."""
_SIZES = "a number is 0, or from 1e-30 to 1e30 in size"
_MOST = 10**300
"""Python writes no whole number of more than 4300 digits. No number that is read from text comes near this."""
_NUMBER = r"\s*[+-]?[\d_]*\.?[\d_]*(?:e[+-]?0*\d{1,3})?\s*"
_RATIO = re.compile(rf"(?P<numerator>{_NUMBER})(?:/(?P<denominator>{_NUMBER}))?", re.IGNORECASE)
_MULTIPLE = re.compile(r"(?P<factor>[\d./]+)?\s*\*?\s*eps\s*(?:/\s*(?P<divisor>\d+))?")


def parse_fraction(value: str | int | float | Fraction, eps: Fraction | None = None) -> Fraction:
    """An exact number from "8/255", "12.75/255", "0.1", 1, "eps/4", "2 eps" or "0.5*eps" (the last three need `eps`).

    Its size is known before a fraction is made of it: text of at most `LONGEST` characters, exponents of at most three digits.

    Raises ThreatModelError for anything else, and for a number other than 0 whose size is not from `SMALLEST` to `LARGEST`.
    """
    if isinstance(value, int | Fraction) and not isinstance(value, bool):
        return _of_usual_size(Fraction(value), value)
    if isinstance(value, Collection) and not isinstance(value, str):
        raise ThreatModelError(f"a {type(value).__name__} is not a number such as 8/255, 0.1 or eps/4")
    text = str(value).strip()
    if len(text) > LONGEST:
        raise ThreatModelError(
            f"{text[:20]!r}... has {len(text)} characters; write a number such as 8/255, 0.1 or eps/4"
        )
    if re.fullmatch(r".*e[+-]?\d*[1-9]\d{3,}.*", text, re.IGNORECASE):
        raise ThreatModelError(f"{text!r} has an exponent of more than three digits; {_SIZES}")
    relative = _MULTIPLE.fullmatch(text)
    if relative is not None and eps is None:
        raise ThreatModelError(f"{text!r} refers to eps, which is not known here; write it as a number such as 2/255")
    try:
        factor, divisor = (text, "1") if relative is None else (relative["factor"] or "1", relative["divisor"] or "1")
        number = _ratio(factor) / Fraction(divisor)
    except (ValueError, ZeroDivisionError):
        raise ThreatModelError(f"{text!r} is not a number such as 8/255, 0.1 or eps/4") from None
    # Of a multiple, the factor alone is looked at: one that is valid at one eps is at any other.
    number = _of_usual_size(number, text)
    return number if relative is None or eps is None else number * eps


def _ratio(text: str) -> Fraction:
    """The number or the ratio of numbers that a text is. Raises ValueError and ZeroDivisionError."""
    found = _RATIO.fullmatch(text)
    if found is None:
        raise ValueError(text)
    return Fraction(found["numerator"]) / Fraction("1" if found["denominator"] is None else found["denominator"])


def _of_usual_size(number: Fraction, written: object) -> Fraction:
    """The number itself. Raises ThreatModelError if no computation could keep it apart from 0 or from infinity."""
    if number == 0:
        return number
    if not SMALLEST <= abs(number) <= LARGEST:
        shown = repr(written) if isinstance(written, str) else "a number"
        raise ThreatModelError(f"{shown} is too {'large' if abs(number) > LARGEST else 'small'}; {_SIZES}")
    if max(abs(number.numerator), number.denominator) > _MOST:
        raise ThreatModelError(f"a fraction of more than 300 digits; {_SIZES}, and written shorter")
    return number


def over_255(value: Fraction | None) -> str:
    """A fraction as people write it in this field: Fraction(8, 255) → "8/255", Fraction(1, 20) → "12.75/255"; "" for None."""
    if value is None:
        return ""
    scaled = value * 255
    return f"{scaled.numerator}/255" if scaled.denominator == 1 else f"{float(scaled):.6g}/255"
