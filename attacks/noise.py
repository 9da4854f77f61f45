"""Uniform random noise: the weakest attack there is. A gradient attack that does no better is broken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from attacks.base import Attack, AttackResult, describe
from attacks.parts.trajectory.lanes import Lane, LaneDemand
from attacks.parts.trajectory.walk import walk_lanes
from attacks.settings import whole_number
from attacks.starts import Starts

DRAWS = 10


@dataclass(frozen=True, kw_only=True)
class Noise(Attack):
    """The worst of several uniform draws from the ball, clamped to the box.

    restarts: 1 or more, the number of draws; draw r is also where restart r of PGD starts. Raises AttackError otherwise.
    """

    version: ClassVar[int] = 1
    walks: ClassVar[bool] = False

    restarts: int = DRAWS

    def __post_init__(self) -> None:
        whole_number("restarts", self.restarts)

    @property
    def name(self) -> str:
        extras: dict[str, Any] = {} if self.restarts == DRAWS else {"r": self.restarts}
        return describe(self.kind, self.threat_model, extras)

    def lanes(self) -> list[Lane]:
        """One walk per draw, of no step."""
        return [Lane(self.threat_model, restart=draw) for draw in range(self.restarts)]

    @classmethod
    def rows_per_image(cls, attacks: Sequence[Attack]) -> int:
        return max(attack.restarts for attack in attacks)  # type: ignore[attr-defined]

    def run(
        self,
        classifier: nn.Module,
        images: Tensor,
        labels: Tensor,
        start: Starts,
        checkpoints: Sequence[int] | None = None,
    ) -> AttackResult:
        demand = LaneDemand(tuple(self.lanes()), self.checked(checkpoints))
        return walk_lanes({self: demand}, classifier, images, labels, start).results[self]
