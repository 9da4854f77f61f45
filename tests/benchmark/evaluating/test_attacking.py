"""The change of images is computed by the harness: an attack that says otherwise is not believed."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import pytest
import torch

from attacks.base import Attack, AttackResult, SharedResult, Trace, outcome_of
from attacks.parts.sharing import SharedRun
from attacks.threat_model import ThreatModel, ThreatModelError
from benchmark.contract.attack_trial import SmoothConv
from benchmark.evaluating import attacking
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


@dataclass(frozen=True, kw_only=True)
class Hungry(Further):
    """Runs out of memory on more than 5 images, but not on the first batch."""

    sizes: ClassVar[list[int]] = []

    def run(self, classifier, images, labels, start, checkpoints=None) -> AttackResult:
        self.sizes.append(len(images))
        if len(images) > 5 and len(self.sizes) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().run(classifier, images, labels, start, checkpoints)


def test_batches_are_all_of_the_size_that_is_recorded_where_memory_runs_out_on_the_way() -> None:
    """An evaluation that is made again in batches of that size gives the same bits only then."""
    images = torch.full((24, 1, 8, 8), 100, dtype=torch.uint8)
    test = ImageSet(images, torch.arange(24) % 2, torch.arange(24))
    run = SharedRun((Hungry(threat_model=ThreatModel(Fraction(1, 5))),))
    Hungry.sizes.clear()
    found = attack_images(Arithmetic(SmoothConv(2).eval(), "fp32"), test, run, seed=0, key="k", batch_size=8)
    assert Hungry.sizes == [8, 8, 4, 4, 4, 4, 4, 4]
    assert found.rows == 4
    assert len(found.outcomes[run.members[0]].final.predicted) == 24
    assert found.forward_passes == 24


@pytest.mark.parametrize("keep_images", [False, True])
def test_the_device_is_waited_for_as_often_for_one_attack_as_for_many(
    keep_images: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[str] = []
    for name in ("cpu", "tolist", "item", "__float__", "__bool__"):
        of_torch = getattr(torch.Tensor, name)

        def counted(tensor, *arguments, name=name, of_torch=of_torch):  # type: ignore[no-untyped-def]
            waits.append(name)
            return of_torch(tensor, *arguments)

        monkeypatch.setattr(torch.Tensor, name, counted)

    def waits_for(count: int) -> list[str]:
        model = ThreatModel(Fraction(1, 5))
        attacks = [Further(threat_model=model, by=k / 100) for k in range(count)]
        logits, labels = torch.randn(4, 2, count), torch.tensor([0, 1, 1, 0])
        images = torch.full((4, 1, 2, 2), 0.5)
        outcomes = [outcome_of(logits[:, :, k], labels) for k in range(count)]
        results = {
            attack: AttackResult({0: outcome}, {0: outcome}, images, images, Trace(), 0, 4)
            for attack, outcome in zip(attacks, outcomes, strict=True)
        }
        result = SharedResult(results, 0, 4)
        waits.clear()
        attacking._changes(result, images)
        fetched = attacking._on_cpu(result, keep_images)
        found = list(waits)
        for attack, outcome in zip(attacks, outcomes, strict=True):
            each = fetched.results[attack]
            assert each.final[0].predicted.equal(outcome.predicted)
            assert each.any[0].margin.equal(outcome.margin)
            assert len(each.worst) == len(each.adversarial) == 4
        return found

    one, many = waits_for(1), waits_for(12)
    assert one == many
    assert len(one) == 3 + keep_images
