"""AutoAttack's composition with fewer steps and queries: cheaper, weaker, and therefore not called AutoAttack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from attacks.base import added_later, describe
from attacks.composition import VARIANTS, Composition, CompositionVariant, Parts
from attacks.settings import one_of, whole_number
from attacks.square import FIXED, STRETCHED


@dataclass(frozen=True, kw_only=True)
class Ensemble(Composition):
    """The parts of `autoattack`, `autoattack-c3` or `autoattack-c2` at another budget, or those for any number of classes.

    steps: 1 or more, of each part that takes gradients.
    queries: 1 or more, of Square.
    composition: "standard", "c3" or "c2"; "any" has the parts of c2, which are defined for every number of classes.
    schedule: of Square, "stretched" to its queries or "fixed". AutoAttack's is fixed, for its 5,000 queries; with far fewer a
        fixed schedule ends while squares are large.

    Raises AttackError otherwise.
    """

    version: ClassVar[int] = 1

    steps: int = 20
    queries: int = 1000
    composition: str = "standard"
    schedule: str = added_later(STRETCHED)

    def __post_init__(self) -> None:
        whole_number("steps", self.steps)
        whole_number("queries", self.queries)
        one_of("composition", self.composition, tuple(VARIANTS))
        one_of("schedule", self.schedule, (STRETCHED, FIXED))

    @property
    def variant(self) -> CompositionVariant:
        return VARIANTS[self.composition]

    def parts(self) -> Parts:
        return self.variant.parts(self.threat_model, self.steps, self.queries, self.schedule)

    @property
    def name(self) -> str:
        extras: dict[str, Any] = {"steps": self.steps, "queries": self.queries}
        if self.composition != "standard":
            extras["composition"] = self.composition
        if self.schedule != STRETCHED:
            extras["schedule"] = self.schedule
        return describe(self.kind, self.threat_model, extras)
