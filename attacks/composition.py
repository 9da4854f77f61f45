"""Attacks made of attacks: each part goes on with the images that the parts before it left standing.

The result is the worst case per sample, as in AutoAttack (Croce and Hein 2020, section 5): an image counts as robust if every
part fails on it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from attacks.apgd import APGD
from attacks.base import MANY, AttackError, Trace, added_later, describe
from attacks.fab import FAB
from attacks.search import Search, SearchAttack
from attacks.settings import one_of
from attacks.square import FIXED, STRETCHED, Square
from attacks.starts import Starts
from attacks.threat_model import ThreatModel

OFFICIAL_STEPS = 100
"""Of each part that takes gradients."""
OFFICIAL_QUERIES = 5000
"""Of Square."""
OFFICIAL_SCHEDULE = FIXED
"""Of Square: the official code composes it with `resc_schedule=False`."""
OFFICIAL_TARGETS = 9
"""Other classes that targeted parts aim at. A classifier of fewer has C − 1 of them, and all are aimed at."""

Parts = dict[str, SearchAttack]
"""The parts, by their names in a trace, in the order in which they run."""


def standard(model: ThreatModel, steps: int, queries: int, schedule: str) -> Parts:
    """The composition for four classes and more: AutoAttack's own."""
    return {
        "apgd ce": APGD(threat_model=model, steps=steps),
        "apgd-t dlr": APGD(threat_model=model, steps=steps, loss="dlr", targets=OFFICIAL_TARGETS),
        **_last(model, steps, queries, schedule),
    }


def three_classes(model: ThreatModel, steps: int, queries: int, schedule: str) -> Parts:
    """The composition for three classes, where targeted DLR is not defined: DLR, and cross-entropy of the target."""
    return {
        "apgd ce": APGD(threat_model=model, steps=steps),
        "apgd dlr": APGD(threat_model=model, steps=steps, loss="dlr"),
        "apgd-t ce": APGD(threat_model=model, steps=steps, targets=OFFICIAL_TARGETS),
        **_last(model, steps, queries, schedule),
    }


def two_classes(model: ThreatModel, steps: int, queries: int, schedule: str) -> Parts:
    """The composition for two classes, where DLR is not defined: as for three, without it."""
    parts = three_classes(model, steps, queries, schedule)
    return {name: part for name, part in parts.items() if name != "apgd dlr"}


def _last(model: ThreatModel, steps: int, queries: int, schedule: str) -> Parts:
    return {
        "fab-t": FAB(threat_model=model, steps=steps, targets=OFFICIAL_TARGETS),
        "square": Square(threat_model=model, queries=queries, schedule=schedule),
    }


@dataclass(frozen=True, slots=True)
class CompositionVariant:
    """A composition.

    parts: threat model, steps, queries and schedule of Square → its parts.
    fewest, most: numbers of classes it is for; None: no limit.
    official: the name of the attack that has these parts under official settings.
    """

    parts: Callable[[ThreatModel, int, int, str], Parts]
    fewest: int
    most: int | None
    official: str

    def fits(self, count: int) -> bool:
        """True if the composition is for this number of classes."""
        return self.fewest <= count and (self.most is None or count <= self.most)


VARIANTS = {
    "standard": CompositionVariant(standard, 4, None, "autoattack"),
    "c3": CompositionVariant(three_classes, 3, 3, "autoattack-c3"),
    "c2": CompositionVariant(two_classes, 2, 2, "autoattack-c2"),
    # Nothing in it asks for a third logit, so it is the one for tasks of 200 classes and of 3 side by side.
    "any": CompositionVariant(two_classes, 2, None, "ensemble with composition: any"),
}


@dataclass(frozen=True, kw_only=True)
class Composition(SearchAttack):
    """Base of attacks made of attacks. The trace is that of the first part, with the images left standing by each part."""

    @abstractmethod
    def parts(self) -> Parts:
        """The attacks that are run, in order."""

    @property
    @abstractmethod
    def variant(self) -> CompositionVariant:
        """The composition that this attack is."""

    def check_classes(self, count: int) -> None:
        if not self.variant.fits(count):
            right = next((other for other in VARIANTS.values() if other.fits(count)), self.variant).official
            raise AttackError(
                f"{self.kind} is for {self.variant.fewest}{'' if self.variant.most else ' or more'} classes, "
                f"the classifier has {count}: use {right}"
            )

    def passes(self, classes: int = MANY) -> float:
        return sum(part.passes(classes) for part in self.parts().values())

    def extend(self, search: Search, start: Starts) -> Trace:
        standing = {"clean": len(search.standing())}
        first: Trace | None = None
        for name, part in self.parts().items():
            trace = part.extend(search, start) if standing[next(reversed(standing))] else Trace()
            first = first or trace
            standing[name] = len(search.standing())
        assert first is not None, "a composition without parts"
        return Trace(first.loss, first.zero_gradients, first.non_finite, first.largest_change, standing)


@dataclass(frozen=True, kw_only=True)
class Official(Composition):
    """Base of the compositions under AutoAttack's official settings: 100 steps, 5,000 queries, a fixed schedule of Square.

    schedule: of Square. "stretched" is not official: it makes version 1 of these attacks again, which stretched the schedule to
        its queries, and their name then says so. Rows that were measured with it are compared under it.

    Raises AttackError for another schedule.
    """

    version: ClassVar[int]

    steps = OFFICIAL_STEPS
    schedule: str = added_later(OFFICIAL_SCHEDULE)

    def __post_init__(self) -> None:
        one_of("schedule", self.schedule, (OFFICIAL_SCHEDULE, STRETCHED))
        if self.schedule == STRETCHED:
            object.__setattr__(self, "version", 1)

    def specification(self) -> dict[str, Any]:
        """As of any attack; under the stretched schedule it is that of version 1, which had no such field."""
        return {name: value for name, value in super().specification().items() if name != "schedule"}

    def parts(self) -> Parts:
        return self.variant.parts(self.threat_model, OFFICIAL_STEPS, OFFICIAL_QUERIES, self.schedule)

    @property
    def name(self) -> str:
        extras = {} if self.schedule == OFFICIAL_SCHEDULE else {"schedule": self.schedule}
        return describe(self.kind, self.threat_model, extras)
