"""The reading of settings that several attacks share. A message is one line: the field, the value, what is valid.

A plug-in imports from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from attacks.base import AttackError
from attacks.threat_model import SMALLEST_EPS, ThreatModel, ThreatModelError, over_255, parse_fraction

__all__ = [
    "MOST",
    "exact_number",
    "exact_number_from",
    "exact_step_size",
    "one_of",
    "step_size_warnings",
    "whole_number",
]


MOST = 10**9
"""The largest whole number of a setting. No attack ends that takes so many steps, and times are computed with floats."""


def whole_number(field: str, value: int, least: int = 1) -> None:
    """Raise AttackError unless `value` is an integer from `least` to `MOST`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise AttackError(f"{field} = {value!r}: expected a whole number of {least} or more")
    if value > MOST:
        raise AttackError(f"{field}: expected a whole number of {least} to {MOST:,}")


def one_of(field: str, value: str, choices: Sequence[str]) -> None:
    """Raise AttackError unless `value` is one of the choices."""
    if value not in choices:
        raise AttackError(f"{field} = {value!r}: expected one of {', '.join(choices)}")


def exact_number(field: str, value: str | float | Fraction, eps: Fraction | None = None) -> Fraction:
    """`value` as an exact number; with `eps`, "eps/4" and the like are read too. Raises AttackError otherwise."""
    try:
        return parse_fraction(value, eps)
    except ThreatModelError as error:
        raise AttackError(f"{field}: {error}") from None


def exact_number_from(
    field: str, value: str | float | Fraction, low: int, high: int | None, example: Fraction
) -> Fraction:
    """`value` as an exact number from `low` to `high`; None: of `low` or more. Raises AttackError otherwise.

    example: a valid number, for the message.
    """
    number = exact_number(field, value)
    if number < low or (high is not None and number > high):
        bounds = f"of {low} or more" if high is None else f"from {low} to {high}"
        raise AttackError(f"{field} = {number}: expected a number {bounds}, such as {example}")
    return number


def exact_step_size(value: str | float | Fraction, threat_model: ThreatModel) -> Fraction:
    """`value` as an exact number in the units of eps, 0 or more; "eps/4" and the like are read. Raises AttackError otherwise."""
    size = exact_number("step_size", value, threat_model.eps)
    if size < 0:
        raise AttackError(f"step_size = {size}: expected a number of 0 or more, such as 2/255 or eps/4")
    return size


def step_size_warnings(size: Fraction, threat_model: ThreatModel) -> tuple[str, ...]:
    """Remarks on a step size that is allowed and makes an attack weak, one line each."""
    if threat_model.eps == 0:
        return ()
    if size == 0:
        return ("step size 0: the attack stays where it starts",)
    if size > 2 * threat_model.eps:
        return (f"step size {over_255(size)} above 2 eps: every step jumps to the far side of the ball",)
    if size < SMALLEST_EPS:
        return (f"step size {float(size):g} is lost beside 1 in float32: bright pixels stay where they are",)
    return ()
