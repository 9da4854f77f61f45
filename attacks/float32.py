"""An attack that walks in float32 though others on the same classifier may walk in a lower precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from attacks.base import AttackResult
from attacks.made_with import MadeWith
from attacks.parts.two_precisions import exact_of
from attacks.starts import Starts


@dataclass(frozen=True, kw_only=True)
class Float32(MadeWith):
    """`made_with` on the exact classifier alone. Whatever the same attack in low precision misses of it was lost by rounding."""

    version: ClassVar[int] = 1
    walks: ClassVar[bool] = False
    iterative: ClassVar[bool] = True

    @property
    def steps(self) -> int:  # type: ignore[override]
        """Those of the attack that it is made with."""
        return self.made_with.steps

    @property
    def name(self) -> str:
        return f"{self.kind} {self.made_with.name}"

    def run(
        self,
        classifier: nn.Module,
        images: Tensor,
        labels: Tensor,
        start: Starts,
        checkpoints: Sequence[int] | None = None,
    ) -> AttackResult:
        return self.made_with.run(exact_of(classifier), images, labels, start, self.checked(checkpoints))
