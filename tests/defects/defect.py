"""A planted defect as a value: what is wrong, how much of it, and the checks that are meant to find it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PLUGINS = Path(__file__).with_name("plugins")

MASKED = ("unbounded", "gradients_carry_signal")
"""A gradient that hides what is there shows in itself, or in an attack without bounds that finds nothing."""

INSIDE = ("gradients_are_true", "black_box_below_white_box", "judged_afresh", "loss_rises")
"""A forward pass with a foreign backward pass is not the function of its gradient, or breaks where no gradient led."""
AFRESH = ("judged_afresh", "unchanged")
"""A classifier that remembers answers otherwise once it has forgotten."""
PEEKED = ("learned_without_test", "test_like_validation", "failures")
"""A method that saw test images was seen reading them, or does better on them than on others, or failed to find them."""
KEPT = ("unforgetting", "judged_afresh")
"""Copies outside the state are no part of what a deployment stores, and a process made anew does not find them."""
UNTRUE = ("gradients_are_true", "unbounded", "black_box_below_white_box", "gradients_carry_signal")
"""A gradient that is not the function's."""


@dataclass(frozen=True)
class PlantedDefect:
    """A defect at one strength.

    defect, strength: in words; together they are the label.
    meant: checks of which at least one must find it; none if it does no harm, and then no check may find it.
    plugin: the file that holds it.
    settings: those of the method, or the fields of the attack.
    full: True for the full strength, which must never be missed.
    attack: True for an attack, which takes the place of every PGD of the evaluation.
    """

    defect: str
    strength: str
    meant: tuple[str, ...]
    plugin: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    full: bool = False
    attack: bool = False

    @property
    def label(self) -> str:
        return f"{self.defect}, {self.strength}"

    @property
    def path(self) -> Path:
        return PLUGINS / f"{self.plugin}.py"

    @property
    def knows_the_test(self) -> bool:
        """True if the method saw test images: then the same networks that did not see them tell the truth."""
        return self.meant == PEEKED

    @property
    def has_truth(self) -> bool:
        """True if an adaptive attack can tell how robust the networks are in truth (`tests/defects/truth.py`)."""
        return self.is_harmless or self.meant in (INSIDE, AFRESH, UNTRUE, MASKED, KEPT)

    @property
    def is_harmless(self) -> bool:
        return not self.meant


def series(
    defect: str,
    meant: tuple[str, ...],
    plugin: str,
    each: Mapping[str, Mapping[str, Any]],
    *,
    attack: bool = False,
) -> list[PlantedDefect]:
    """One defect in several strengths, the first of them full."""
    return [
        PlantedDefect(defect, strength, meant, plugin, settings, full=index == 0, attack=attack)
        for index, (strength, settings) in enumerate(each.items())
    ]


def strengths(form: str, *values: float, **settings: Any) -> dict[str, dict[str, Any]]:
    """Strengths that differ in the setting `strength` alone. form: how they are written."""
    return {form.format(value): {"strength": value, **settings} for value in values}
