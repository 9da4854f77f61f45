"""AutoAttack: Croce and Hein 2020, *Reliable evaluation of adversarial robustness with an ensemble of diverse attacks*."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attacks.composition import VARIANTS, CompositionVariant, Official


@dataclass(frozen=True, kw_only=True)
class AutoAttackC3(Official):
    """AutoAttack for three classes. It has a name of its own because its parts differ: targeted DLR needs a fourth logit.

    APGD-CE, APGD-DLR, APGD with targeted cross-entropy, FAB-T, Square; steps, queries, schedule and targets as in `autoattack`.
    """

    version: ClassVar[int] = 2

    @property
    def variant(self) -> CompositionVariant:
        return VARIANTS["c3"]
