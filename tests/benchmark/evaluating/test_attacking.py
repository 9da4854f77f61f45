"""The change of images is computed by the harness: an attack that says otherwise is not believed."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import pytest
import torch

from attacks.base import Attack, AttackResult, Trace, outcome_of
from attacks.parts.sharing import SharedRun
from attacks.threat_model import ThreatModel, ThreatModelError
from benchmark.contract.attack_trial import SmoothConv
from benchmark.evaluating.attacking import AttackOutcomes, attack_images
from benchmark.evaluating.precision import Arithmetic
from scenarios.base import ImageSet


@dataclass(frozen=True, kw_only=True)
class Further(Attack):
    """Moves every pixel by `by`, and says that it moved none."""

    version: ClassVar[int] = 1
    by: float = 0.0

    @property
    def name(self) -> str:
        return f"further {self.threat_model}"

    def run(self, classifier, images, labels, start, checkpoints=None) -> AttackResult:
        moved = images + self.by
        outcome = outcome_of(classifier(moved), labels)
        outcomes = {self.steps: outcome}
        return AttackResult(outcomes, outcomes, moved, moved, Trace(largest_change=[0.0]), 0, len(images))


def of_further(by: float, image: float) -> AttackOutcomes:
    images = torch.full((3, 1, 8, 8), round(255 * image), dtype=torch.uint8)
    test = ImageSet(images, torch.tensor([0, 1, 1]), torch.arange(3))
    attack = Further(threat_model=ThreatModel(Fraction(1, 5)), by=by)
    run = SharedRun((attack,))
    return attack_images(Arithmetic(SmoothConv(2).eval(), "fp32"), test, run, seed=0, key="k", batch_size=2).outcomes[
        attack
    ]


def test_the_change_of_images_is_measured_and_not_taken_from_what_the_attack_says() -> None:
    assert of_further(0.3, 0.4).largest_change == pytest.approx(0.3)
    assert of_further(0.0, 0.4).largest_change == 0


@pytest.mark.parametrize("by", [0.3, -0.3])
def test_images_outside_the_box_are_a_failure(by: float) -> None:
    with pytest.raises(ThreatModelError, match=r"outside \[0, 1\]"):
        of_further(by, 0.5 + 3 * by / 2)
