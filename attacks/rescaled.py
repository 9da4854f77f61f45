"""PGD on rescaled logits: does the scale of a network's logits hide its gradient? (Carlini and Wagner 2017, section IV)"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import ClassVar

from torch import Tensor, nn

from attacks.base import Attack, AttackError, AttackResult, Outcome, SharedResult
from attacks.pgd import PGD
from attacks.starts import Starts
from attacks.threat_model import ThreatModelError, parse_fraction


@dataclass(frozen=True, kw_only=True)
class Rescaled(PGD):
    """PGD that follows the gradient of the loss of `scale` times the logits; what it reports is of the logits as they are.

    scale: above 0, anything `parse_fraction` reads. No prediction depends on it, so in exact arithmetic margins' signs do not
    either; in float32 the cross-entropy of very large logits has no gradient, and that of very small ones is that of the
    difference of means. Raises AttackError otherwise.
    """

    version: ClassVar[int] = 1

    scale: Fraction = Fraction(100)

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            object.__setattr__(self, "scale", parse_fraction(self.scale))
        except ThreatModelError as error:
            raise AttackError(f"scale: {error}") from None
        if self.scale <= 0:
            raise AttackError(f"scale = {self.scale}: expected a number above 0")

    @property
    def name(self) -> str:
        return f"{super().name} scale={float(self.scale):g}"

    @classmethod
    def run_together(
        cls, attacks: Sequence[Attack], classifier: nn.Module, images: Tensor, labels: Tensor, start: Starts
    ) -> SharedResult:
        scale = _scale_of(attacks[0])
        shared = super().run_together(attacks, _Scaled(classifier, scale), images, labels, start)
        return replace(shared, results={attack: _as_it_is(result, scale) for attack, result in shared.results.items()})

    def run(
        self,
        classifier: nn.Module,
        images: Tensor,
        labels: Tensor,
        start: Starts,
        checkpoints: Sequence[int] | None = None,
    ) -> AttackResult:
        scale = float(self.scale)
        return _as_it_is(super().run(_Scaled(classifier, scale), images, labels, start, checkpoints), scale)


class _Scaled(nn.Module):
    """A classifier's logits times a number. It keeps no state and no mode of its own."""

    def __init__(self, classifier: nn.Module, scale: float) -> None:
        super().__init__()
        self.classifier, self.scale = classifier, scale
        self.training = classifier.training

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(images)
        # Whatever else is returned is refused where every classifier's answer is looked at.
        usable = isinstance(logits, Tensor) and logits.is_floating_point()
        return logits * self.scale if usable else logits


def _scale_of(attack: Attack) -> float:
    assert isinstance(attack, Rescaled)
    return float(attack.scale)


def _as_it_is(result: AttackResult, scale: float) -> AttackResult:
    """Margins in the units of the classifier's own logits."""

    def own(outcomes: dict[int, Outcome]) -> dict[int, Outcome]:
        return {steps: replace(outcome, margin=outcome.margin / scale) for steps, outcome in outcomes.items()}

    return replace(result, final=own(result.final), any=own(result.any))
