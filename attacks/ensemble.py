"""AutoAttack's composition with fewer steps and queries: cheaper, weaker, and therefore not called AutoAttack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from attacks.base import AttackError, describe
from attacks.composition import VARIANTS, Composition, CompositionVariant, Parts
from attacks.settings import whole_number


@dataclass(frozen=True, kw_only=True)
class Ensemble(Composition):
    """The parts of `autoattack`, `autoattack-c3` or `autoattack-c2` at another budget.

    steps: 1 or more, of each part that takes gradients.
    queries: 1 or more, of Square.
    composition: "standard", "c3" or "c2".

    Raises AttackError otherwise.
    """

    version: ClassVar[int] = 1

    steps: int = 20
    queries: int = 1000
    composition: str = "standard"

    def __post_init__(self) -> None:
        whole_number("steps", self.steps)
        whole_number("queries", self.queries)
        if self.composition not in VARIANTS:
            raise AttackError(f"composition = {self.composition!r}: expected one of {', '.join(VARIANTS)}")

    @property
    def variant(self) -> CompositionVariant:
        return VARIANTS[self.composition]

    def parts(self) -> Parts:
        return self.variant.parts(self.threat_model, self.steps, self.queries)

    @property
    def name(self) -> str:
        extras: dict[str, Any] = {"steps": self.steps, "queries": self.queries}
        if self.composition != "standard":
            extras["composition"] = self.composition
        return describe(self.kind, self.threat_model, extras)
