"""No attack: the classifier's answers to the images as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

from torch import Tensor, nn

from attacks.base import Attack, AttackError, AttackResult
from attacks.parts.trajectory.lanes import Lane, LaneDemand
from attacks.parts.trajectory.walk import walk_lanes
from attacks.starts import Starts
from attacks.threat_model import ThreatModel

NO_CHANGE = ThreatModel(Fraction(0))


@dataclass(frozen=True, kw_only=True)
class Clean(Attack):
    """One forward pass of the unchanged images. Raises AttackError for an eps other than 0."""

    version: ClassVar[int] = 1
    walks: ClassVar[bool] = False
    seeded: ClassVar[bool] = False

    threat_model: ThreatModel = NO_CHANGE

    def __post_init__(self) -> None:
        if self.threat_model.eps != 0:
            raise AttackError(f"eps = {self.threat_model.eps} for clean: clean images have eps = 0; leave it out")

    @property
    def name(self) -> str:
        return self.kind

    def run(
        self,
        classifier: nn.Module,
        images: Tensor,
        labels: Tensor,
        start: Starts,
        checkpoints: Sequence[int] | None = None,
    ) -> AttackResult:
        demand = LaneDemand((Lane(self.threat_model),), self.checked(checkpoints))
        return walk_lanes({self: demand}, classifier, images, labels, start).results[self]
