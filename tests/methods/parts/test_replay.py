"""Replay: draws of kept images for a step, and batches that go through the network side by side."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from attacks.threat_model import ThreatModel
from methods.parts.image_memory import KeptImages
from methods.parts.replay import Replay, ReplayingObjective, side_by_side
from methods.training import AdversarialTraining, Batch, CleanTraining, InnerAttack, Objective
from methods.training.algorithms.fast import FastSettings
from methods.training.algorithms.free import FreeSettings
from methods.training.algorithms.input_gradients import InputGradientSettings
from methods.training.algorithms.trades import TradesSettings
from scenarios.parts.augmentation import by_name
from tests.methods.training.training_cases import recipe

OBJECTIVES: dict[str, Callable[[], Objective]] = {
    "clean": CleanTraining,
    "adversarial": AdversarialTraining,
    "trades": TradesSettings().objective,
    "free": FreeSettings().objective,
    "fast": FastSettings().objective,
    "igr": InputGradientSettings().objective,
}


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def kept(count: int = 10, size: int = 4) -> KeptImages:
    images = torch.randint(0, 256, (count, 1, size, size), dtype=torch.uint8, generator=rng(3))
    return KeptImages(images, torch.arange(count) % 2, torch.arange(count) // 5)


def batch(size: int = 6, first: int = 0) -> Batch:
    images = torch.rand(size, 1, 4, 4, generator=rng(4))
    return Batch(images, torch.arange(size) % 2, torch.full((size,), 2), first)


def replay(share: float = 1.0, augmentation: str = "none", size: int = 4, of: KeptImages | None = None) -> Replay:
    return Replay(of or kept(), share, augmentation, (size, size), (rng(1), rng(2)))


def test_a_step_draws_different_images_and_the_next_step_others() -> None:
    drawn = replay(0.8)
    first, second = (drawn.draw(batch())[1].tolist() for _ in range(2))
    assert len(first) == len(set(first)) == 5
    assert first != second
    again = replay(0.8)
    assert [again.draw(batch())[1].tolist() for _ in range(2)] == [first, second]


def test_every_image_is_drawn_as_often_as_any_other() -> None:
    drawn, counts = replay(0.5), torch.zeros(10)
    for _ in range(1000):
        counts[drawn.draw(batch())[1]] += 1
    statistic = float(((counts - 300) ** 2 / 300).sum()) / (1 - 3 / 10) * 9 / 10
    assert stats.chi2.sf(statistic, 9) > 1e-3


@pytest.mark.parametrize(("share", "size", "count"), [(1, 6, 6), (0.5, 6, 3), (0.01, 6, 1), (3, 6, 10), (2, 3, 6)])
def test_so_many_are_drawn_as_are_asked_for_and_as_there_are(share: float, size: int, count: int) -> None:
    old, places = replay(share).draw(batch(size))
    assert len(old.labels) == len(old.images) == len(old.tasks) == len(places) == count


@pytest.mark.parametrize("augmentation", ["none", "crop_flip", "shift"])
def test_drawn_images_are_augmented_as_those_of_the_stream(augmentation: str) -> None:
    larger = kept(size=6)
    old, places = replay(augmentation=augmentation, of=larger).draw(batch(first=12))
    assert torch.equal(old.images, by_name(augmentation)(larger.images[places], rng(2), (4, 4)))
    assert torch.equal(old.labels, larger.labels[places])
    assert torch.equal(old.tasks, larger.tasks[places])
    assert old.first == 12


def test_what_a_step_costs_counts_the_images_that_it_draws() -> None:
    chosen = recipe(batch_size=5, attack={"steps": 4})
    inner = AdversarialTraining()
    once, twice = (ReplayingObjective(inner, replay(), lambda batch: nn.Identity(), draws) for draws in (1, 2))
    assert once.image_gradients(chosen) == 2 * inner.image_gradients(chosen) == 8
    assert twice.image_gradients(chosen) == 12
    assert once.passes(chosen) == 2 * inner.passes(chosen)


def test_batches_side_by_side_are_one_batch() -> None:
    old, _ = replay().draw(batch())
    both = side_by_side([batch(), old])
    assert torch.equal(both.images, torch.cat([batch().images, old.images]))
    assert torch.equal(both.labels, torch.cat([batch().labels, old.labels]))
    assert torch.equal(both.tasks, torch.cat([batch().tasks, old.tasks]))
    assert both.weights is None


def _loss(objective: Objective, network: nn.Module, of: Batch) -> Tensor:
    attack = InnerAttack(network, ThreatModel(Fraction(1, 10)), 0.05, 2, "eval", rng(5))
    return objective.loss(network, of, attack)[0].detach()


def _network() -> nn.Module:
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=rng(6)))
    return network


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_loss_of_every_objective_is_the_weighted_one(name: str) -> None:
    """It is linear in the weights, and without them it is that with weights of 1."""
    network, both = _network(), side_by_side([batch(), replay(0.5).draw(batch())[0]])
    few = torch.rand(9, generator=rng(7))

    def at(weights: Tensor | None) -> float:
        weighted = Batch(both.images, both.labels, both.tasks, weights=weights)
        return float(_loss(OBJECTIVES[name](), network, weighted))

    assert at(torch.ones(9)) == pytest.approx(at(None))
    assert at(few) + at(1 - few) == pytest.approx(at(None), rel=1e-5)
    assert at(few) != pytest.approx(at(None), rel=1e-3)


def test_factors_are_those_of_the_batches_mean_losses() -> None:
    network, old = _network(), replay(0.5).draw(batch())[0]
    clean = CleanTraining()
    found = _loss(clean, network, side_by_side([batch(), old], [1.0, 0.3]))
    assert float(found) == pytest.approx(float(_loss(clean, network, batch()) + 0.3 * _loss(clean, network, old)))


def test_parts_and_copies_of_a_batch_have_their_weights() -> None:
    whole = Batch(batch().images, batch().labels, batch().tasks, weights=torch.arange(6.0))
    assert [part.weights.tolist() for part in whole.parts(2) if part.weights is not None] == [[0, 1], [2, 3], [4, 5]]
    copied = whole.copied()
    copied.take_over(Batch(batch().images, batch().labels, batch().tasks, weights=torch.ones(6)))
    assert copied.weights is not None
    assert copied.weights.tolist() == [1] * 6
    assert whole.weights is not None
    assert whole.weights.tolist() == list(range(6))
