"""Base of attacks that are another attack under other conditions: on another classifier, or in another precision.

A plug-in imports from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from attacks.base import MANY, Attack, AttackError

__all__ = ["MadeWith"]


@dataclass(frozen=True, kw_only=True)
class MadeWith(Attack):
    """An attack that is made with another one. It runs alone, and asks of classifiers and images what the other one asks.

    made_with: an attack of another class, under the same threat model. Raises AttackError for any other.
    """

    made_with: Attack = field()

    def __post_init__(self) -> None:
        if isinstance(self.made_with, type(self)):
            raise AttackError(f"a {self.kind} of a {self.kind}: give it an attack such as pgd")
        if self.made_with.threat_model != self.threat_model:
            raise AttackError(f"{self.kind} under {self.threat_model} of an attack under {self.made_with.threat_model}")

    def warnings(self) -> tuple[str, ...]:
        return self.made_with.warnings()

    def warnings_of_classes(self, count: int) -> tuple[str, ...]:
        return self.made_with.warnings_of_classes(count)

    def check_classes(self, count: int) -> None:
        self.made_with.check_classes(count)

    def check_images(self, shape: tuple[int, int, int], classes: int) -> None:
        self.made_with.check_images(shape, classes)

    def passes(self, classes: int = MANY) -> float:
        return self.made_with.passes(classes)

    def family(self) -> tuple[Any, ...]:
        return (self,)

    @classmethod
    def rows_per_image(cls, attacks: Sequence[Attack]) -> int:
        return max(
            type(each.made_with).rows_per_image([each.made_with]) for each in attacks if isinstance(each, MadeWith)
        )
