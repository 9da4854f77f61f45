"""A PGD that raises."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from attacks.base import Attack, SharedResult
from attacks.pgd import PGD
from attacks.starts import Starts


@dataclass(frozen=True, kw_only=True)
class PGDThatRaises(PGD):
    """every: it raises for a batch that holds a sample whose number is divided by this; 1: always."""

    version: ClassVar[int] = 1

    every: int = 1

    @property
    def name(self) -> str:
        return f"{super().name} every={self.every}"

    @classmethod
    def run_together(
        cls, attacks: Sequence[Attack], classifier: nn.Module, images: Tensor, labels: Tensor, start: Starts
    ) -> SharedResult:
        if any((start.samples % attack.every == 0).any() for attack in attacks if isinstance(attack, PGDThatRaises)):
            raise RuntimeError("planted")
        return super().run_together(attacks, classifier, images, labels, start)
