"""PGD on rescaled logits, for networks whose gradient hides in the scale of the logits (Carlini and Wagner 2017, section IV)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import ClassVar

from torch import Tensor, nn

from attacks.base import Attack, AttackError, AttackResult, Outcome, SharedResult
from attacks.parts.two_precisions import in_both
from attacks.pgd import PGD
from attacks.settings import exact_number
from attacks.starts import Starts


@dataclass(frozen=True, kw_only=True)
class Rescaled(PGD):
    """PGD that follows the gradient of the loss of `scale` times the logits, and reports margins of the logits as they are.

    scale: above 0; anything that `parse_fraction` reads becomes a Fraction. Raises AttackError otherwise.

    No prediction depends on the scale, so in exact arithmetic no margin's sign does. In float32 the cross-entropy of very large
    logits has no gradient. The cross-entropy of very small logits is almost linear in them: its gradient weighs every wrong
    class alike, however far it is from the label's class.
    """

    version: ClassVar[int] = 1

    scale: Fraction = Fraction(100)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "scale", exact_number("scale", self.scale))
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
        shared = super().run_together(attacks, _scaled(classifier, scale), images, labels, start)
        return replace(shared, results={attack: _unscaled(result, scale) for attack, result in shared.results.items()})

    def run(
        self,
        classifier: nn.Module,
        images: Tensor,
        labels: Tensor,
        start: Starts,
        checkpoints: Sequence[int] | None = None,
    ) -> AttackResult:
        scale = float(self.scale)
        return _unscaled(super().run(_scaled(classifier, scale), images, labels, start, checkpoints), scale)


class _Scaled(nn.Module):
    """A classifier's logits times a number. It keeps no state and no mode of its own."""

    def __init__(self, classifier: nn.Module, scale: float) -> None:
        super().__init__()
        self.classifier, self.scale = classifier, scale
        self.training = classifier.training

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(images)
        # Any other answer goes on as it is, to be refused where the answers of all classifiers are checked.
        usable = isinstance(logits, Tensor) and logits.is_floating_point()
        return logits * self.scale if usable else logits


def _scaled(classifier: nn.Module, scale: float) -> nn.Module:
    return in_both(classifier, lambda module: _Scaled(module, scale))


def _scale_of(attack: Attack) -> float:
    assert isinstance(attack, Rescaled)
    return float(attack.scale)


def _unscaled(result: AttackResult, scale: float) -> AttackResult:
    """The result with margins in the units of the classifier's own logits."""

    def divided(outcomes: dict[int, Outcome]) -> dict[int, Outcome]:
        return {steps: replace(outcome, margin=outcome.margin / scale) for steps, outcome in outcomes.items()}

    return replace(result, final=divided(result.final), any=divided(result.any))
