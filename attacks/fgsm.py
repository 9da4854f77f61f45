"""The fast gradient sign method: Goodfellow et al. 2015, *Explaining and Harnessing Adversarial Examples*."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from attacks.base import Attack, AttackResult, describe
from attacks.parts.trajectory.lanes import Lane, LaneDemand
from attacks.parts.trajectory.walk import walk_lanes
from attacks.starts import Starts


@dataclass(frozen=True, kw_only=True)
class FGSM(Attack):
    """One step of eps along the sign of the cross-entropy's gradient, from the image itself (section 4).

    Its iterate 0 is the clean image, which has a row of its own, so any-iterate rows are not recorded (`iterative`).
    """

    version: ClassVar[int] = 1

    steps = 1

    @property
    def name(self) -> str:
        return describe(self.kind, self.threat_model, {})

    def run(
        self,
        classifier: nn.Module,
        images: Tensor,
        labels: Tensor,
        start: Starts,
        checkpoints: Sequence[int] | None = None,
    ) -> AttackResult:
        # From the image, one step as long as the radius: in l2 that is the fast gradient method.
        demand = LaneDemand((Lane(self.threat_model, float(self.threat_model.eps)),), self.checked(checkpoints))
        return walk_lanes({self: demand}, classifier, images, labels, start).results[self]
