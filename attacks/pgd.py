"""Projected gradient descent: Madry et al. 2018, *Towards Deep Learning Models Resistant to Adversarial Attacks*."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, ClassVar

from torch import Tensor, nn

from attacks.base import MANY, Attack, AttackError, AttackResult, SharedResult, added_later, describe, without
from attacks.parts.losses import check_loss, find_loss
from attacks.parts.trajectory.lanes import Lane, LaneDemand
from attacks.parts.trajectory.walk import walk_lanes
from attacks.settings import exact_step_size, step_size_warnings, whole_number
from attacks.starts import Starts


@dataclass(frozen=True, kw_only=True)
class PGD(Attack):
    """`steps` projected gradient steps from a random point of the ball (section 2.1).

    linf: along the sign of the gradient, from a uniform point; l2: along its direction, from a point of uniform radius.

    steps: 1 or more.
    step_size: in the units of eps, 0 or more; anything that `parse_fraction` reads, "eps/4" included, becomes a Fraction. The
        record warns of 0 and of more than 2 eps.
    restarts: 1 or more.
    loss: a name in `attacks.parts.losses.LOSSES`.
    random_start: False: start at the image; there is one restart then, because all would be the same.
    targets: 0; or the number of likeliest other classes (at most all) towards each of which a walk is made.
    eot: 1 or more, gradients that are averaged at each step, for classifiers that are random (Athalye et al. 2018, expectation
        over transformation).

    Raises AttackError otherwise.

    Iterates do not depend on the steps to come. So a run of 40 steps gives the results of 7, 10 and 20 at its checkpoints, for 40
    gradients and 41 forward passes. Step sizes, restarts, targets and eps are lanes of one batch.
    """

    version: ClassVar[int] = 1
    iterative: ClassVar[bool] = True

    steps: int = field()
    step_size: Fraction = field()
    restarts: int = 1
    loss: str = "ce"
    random_start: bool = True
    targets: int = added_later(0)
    eot: int = added_later(1)

    def __post_init__(self) -> None:
        whole_number("steps", self.steps)
        whole_number("restarts", self.restarts)
        whole_number("targets", self.targets, least=0)
        whole_number("eot", self.eot)
        object.__setattr__(self, "step_size", exact_step_size(self.step_size, self.threat_model))
        find_loss(self.loss)
        if not isinstance(self.random_start, bool):
            raise AttackError(f"random_start = {self.random_start!r}: expected true or false")
        if self.restarts > 1 and not self.random_start:
            raise AttackError(
                f"restarts = {self.restarts} without a random start: all would be the same; use restarts = 1"
            )

    @property
    def name(self) -> str:
        extras: dict[str, Any] = {"a": self.step_size}
        if self.restarts != 1:
            extras["r"] = self.restarts
        if self.loss != "ce":
            extras["loss"] = self.loss
        if not self.random_start:
            extras["start"] = "none"
        if self.targets:
            extras["targets"] = self.targets
        if self.eot != 1:
            extras["eot"] = self.eot
        return describe(f"{self.kind}-{self.steps}", self.threat_model, extras)

    def warnings(self) -> tuple[str, ...]:
        return step_size_warnings(self.step_size, self.threat_model)

    def check_classes(self, count: int) -> None:
        check_loss(self.loss, self.targets, count)

    def family(self) -> tuple[Any, ...]:
        return without(self.specification(), "steps", "step_size", "restarts", "eps")

    def lanes(self) -> list[Lane]:
        """The walks of this attack, one per restart and target."""
        return [
            Lane(self.threat_model, float(self.step_size), restart if self.random_start else None, target)
            for target in (range(self.targets) if self.targets else [None])
            for restart in range(self.restarts)
        ]

    @classmethod
    def passes_together(cls, attacks: Sequence[Attack], classes: int = MANY) -> float:
        steps: dict[Lane, int] = {}
        for attack in attacks:
            for lane in attack.lanes():  # type: ignore[attr-defined]
                if (lane.target or 0) < classes - 1:
                    steps[lane] = max(steps.get(lane, 0), attack.steps)
        return float(sum(2 * count * getattr(attacks[0], "eot", 1) + 1 for count in steps.values()))

    @classmethod
    def rows_per_image(cls, attacks: Sequence[Attack]) -> int:
        return len({lane for attack in attacks for lane in attack.lanes()})  # type: ignore[attr-defined]

    @classmethod
    def run_together(
        cls, attacks: Sequence[Attack], classifier: nn.Module, images: Tensor, labels: Tensor, start: Starts
    ) -> SharedResult:
        demands = {attack: LaneDemand(tuple(attack.lanes()), (attack.steps,)) for attack in attacks}  # type: ignore[attr-defined]
        first = attacks[0]
        assert isinstance(first, PGD)
        return walk_lanes(demands, classifier, images, labels, start, first.loss, first.eot)

    def run(
        self,
        classifier: nn.Module,
        images: Tensor,
        labels: Tensor,
        start: Starts,
        checkpoints: Sequence[int] | None = None,
    ) -> AttackResult:
        demand = LaneDemand(tuple(self.lanes()), self.checked(checkpoints))
        return walk_lanes({self: demand}, classifier, images, labels, start, self.loss, self.eot).results[self]
