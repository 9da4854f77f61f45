"""Checks that the settings of several attacks share; a message is one line: the field, the value, what is valid."""

from __future__ import annotations

from fractions import Fraction

from attacks.base import AttackError
from attacks.threat_model import ThreatModel, ThreatModelError, over_255, parse_fraction


def whole_number(field: str, value: int, least: int = 1) -> None:
    """Raise AttackError unless `value` is an integer of `least` or more."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise AttackError(f"{field} = {value!r}: expected a whole number of {least} or more")


def exact_step_size(value: str | float | Fraction, threat_model: ThreatModel) -> Fraction:
    """`value` as an exact number of pixels, 0 or more; "eps/4" and the like are read. Raises AttackError otherwise."""
    try:
        size = parse_fraction(value, threat_model.eps)
    except ThreatModelError as error:
        raise AttackError(f"step_size: {error}") from None
    if size < 0:
        raise AttackError(f"step_size = {size}: expected a number of 0 or more, such as 2/255 or eps/4")
    return size


def step_size_warnings(size: Fraction, threat_model: ThreatModel) -> tuple[str, ...]:
    """What to say of a step size that is allowed and makes an attack weak, as one line each."""
    if threat_model.eps == 0:
        return ()
    if size == 0:
        return ("step size 0: the attack stays where it starts",)
    if size > 2 * threat_model.eps:
        return (f"step size {over_255(size)} above 2 eps: every step jumps to the far side of the ball",)
    return ()
