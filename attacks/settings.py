"""Checks that the settings of several attacks share; a message is one line: the field, the value, what is valid."""

from __future__ import annotations

from fractions import Fraction

from attacks.base import AttackError
from attacks.threat_model import ThreatModel, ThreatModelError, parse_fraction


def whole_number(field: str, value: int) -> None:
    """Raise AttackError unless `value` is an integer of 1 or more."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise AttackError(f"{field} = {value!r}: expected a whole number of 1 or more")


def positive_step_size(value: str | float | Fraction, threat_model: ThreatModel) -> Fraction:
    """`value` as an exact number of pixels above 0; 0 is allowed at eps = 0, where "eps/4" means it.

    Raises AttackError otherwise.
    """
    try:
        size = parse_fraction(value, threat_model.eps)
    except ThreatModelError as error:
        raise AttackError(f"step_size: {error}") from None
    if size < 0 or (size == 0 and threat_model.eps != 0):
        raise AttackError(f"step_size = {size}: expected a number above 0, such as 2/255 or eps/4")
    return size
