"""Transfer: images made on one classifier, tried on another, as an attacker without access does (Papernot et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from attacks.base import MANY, AttackError, AttackResult, Trace, outcome_of
from attacks.made_with import MadeWith
from attacks.starts import Starts
from attacks.victim import Victim

EARLIER = "earlier"
"""The source for the same method's classifier as it was right after the task was learned."""


@dataclass(frozen=True, kw_only=True)
class Transfer(MadeWith):
    """The images that `made_with` ends with on a surrogate, shown to the classifier.

    source: the surrogate's name: a label of the preset, or "earlier".
    made_with: any other attack, under the same threat model. Raises AttackError for another one.
    origin: the hash of the run that the surrogate is from, so that another run under the same label is another attack.
    surrogate: the classifier itself, no part of the specification. `on` sets it; without one the attack cannot run.
    """

    version: ClassVar[int] = 1
    walks: ClassVar[bool] = False

    source: str = field()
    origin: str = ""
    surrogate: nn.Module | None = field(default=None, compare=False, repr=False)

    def on(self, surrogate: nn.Module, origin: str = "") -> Transfer:
        """This attack with a surrogate, a classifier of the same classes. origin: as it is if empty."""
        return replace(self, surrogate=surrogate, origin=origin or self.origin)

    @property
    def name(self) -> str:
        return f"{self.kind} from={self.source} {self.made_with.name}"

    def passes(self, classes: int = MANY) -> float:
        return super().passes(classes) + 1

    def run(
        self,
        classifier: nn.Module,
        images: Tensor,
        labels: Tensor,
        start: Starts,
        checkpoints: Sequence[int] | None = None,
    ) -> AttackResult:
        self.checked(checkpoints)
        if self.surrogate is None:
            raise AttackError(f"{self.name}: there is no classifier to make the images on; give one with `on`")
        made = self.made_with.run(self.surrogate, images, labels, start)
        with torch.inference_mode(False):
            victim = Victim(classifier, images, labels)
            outcome = outcome_of(victim.logits_only(made.adversarial), victim.labels)
            victim.check_finite()
        self.threat_model.check(made.adversarial, victim.images)
        change = float(self.threat_model.largest_change(made.adversarial, victim.images).amax())
        return AttackResult(
            final={self.steps: outcome},
            any={self.steps: outcome},
            adversarial=made.adversarial,
            worst=made.adversarial,
            trace=Trace(largest_change=[change]),
            gradient_evaluations=made.gradient_evaluations,
            forward_passes=made.forward_passes + victim.forward_passes,
        )
