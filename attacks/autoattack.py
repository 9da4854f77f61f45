"""AutoAttack: Croce and Hein 2020, *Reliable evaluation of adversarial robustness with an ensemble of diverse attacks*."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attacks.composition import VARIANTS, CompositionVariant, Official


@dataclass(frozen=True, kw_only=True)
class AutoAttack(Official):
    """AutoAttack under its official settings, for four classes or more.

    APGD-CE and targeted APGD-DLR of 100 steps, FAB-T of 100, Square of 5,000 queries whose sizes shrink on the fixed schedule,
    min(9, C − 1) targets ("standard").
    """

    version: ClassVar[int] = 2

    @property
    def variant(self) -> CompositionVariant:
        return VARIANTS["standard"]
