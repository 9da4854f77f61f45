"""Projected gradient descent: Madry et al. 2018, *Towards Deep Learning Models Resistant to Adversarial Attacks*."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, ClassVar

from torch import Tensor, nn

from attacks.ascent import ascend, step
from attacks.base import Attack, AttackError, AttackResult, describe
from attacks.losses import find_loss
from attacks.settings import positive_step_size, whole_number
from attacks.starts import Starts
from attacks.trajectory import attack_batch, starting_points

__all__ = ["PGD", "ascend", "step"]


@dataclass(frozen=True, kw_only=True)
class PGD(Attack):
    """`steps` signed gradient steps from a uniform point of the ball, projected after each (section 2.1).

    steps, restarts: 1 or more. step_size: in units of pixels in [0, 1], above 0, also above 2 eps (at eps = 0 it may be
    0); what `parse_fraction` reads, "eps/4" included, becomes a Fraction. loss: a name in `attacks.losses.LOSSES`.
    random_start: False starts at the image, where all restarts would be the same. Raises AttackError otherwise.

    Iterates do not depend on the steps to come, so a run of 40 steps gives the results of 7, 10 and 20 at its
    checkpoints, to the bit, for 40 gradients and 41 forward passes.
    """

    version: ClassVar[int] = 1
    iterative: ClassVar[bool] = True

    steps: int = field()
    step_size: Fraction = field()
    restarts: int = 1
    loss: str = "ce"
    random_start: bool = True

    def __post_init__(self) -> None:
        whole_number("steps", self.steps)
        whole_number("restarts", self.restarts)
        object.__setattr__(self, "step_size", positive_step_size(self.step_size, self.threat_model))
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
        return describe(f"{self.kind}-{self.steps}", self.threat_model, extras)

    def run(
        self,
        classifier: nn.Module,
        images: Tensor,
        labels: Tensor,
        start: Starts,
        checkpoints: Sequence[int] | None = None,
    ) -> AttackResult:
        starts: Iterable[Tensor] = [images]
        if self.random_start:
            starts = starting_points(self.threat_model, images, start, self.restarts)
        step_size, loss = float(self.step_size), find_loss(self.loss)
        return attack_batch(self, classifier, images, labels, starts, checkpoints, step_size, loss)
