"""The attacks of an audit are those that the protocol says, and the classifier stays as it was."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from benchmark.commands.audit.attacking.cells import SUITE_STEPS, AuditAttack, attacks_of, turn_of
from benchmark.commands.audit.attacking.predicting import chosen_images, predictions_under
from benchmark.commands.audit.box_effects import box_effect
from benchmark.commands.audit.pgd import Geometry
from benchmark.commands.audit.switches import AuditProtocol
from benchmark.evaluating.fingerprints import classifier_fingerprint
from methods.backbones import BackboneChoice, MultiHead, TaskNetwork, initialise
from reports.numbers.metrics import CLEAN
from scenarios.base import SourceOptions, Task
from scenarios.digits import Digits

EPS = Fraction(51, 255)
CANONICAL = AuditProtocol()


@pytest.fixture(scope="module")
def task() -> Task:
    return Digits(Digits.Settings(tasks=1), SourceOptions()).load()[0]


def classifier(seed: int = 0) -> TaskNetwork:
    """Fitted in a few clean steps, so that attacks have something to break."""
    network = MultiHead(BackboneChoice(name="small_conv", width=0.25).build((1, 8, 8)), (2,), Digits.mean, Digits.std)
    initialise(network, torch.Generator().manual_seed(seed))
    found = network.for_task(0).train()
    train = Digits(Digits.Settings(tasks=1), SourceOptions()).load()[0].train
    optimizer = torch.optim.Adam(found.parameters(), 0.01)
    for _ in range(15):
        optimizer.zero_grad()
        nn.functional.cross_entropy(found(train.images.float() / 255), train.labels).backward()
        optimizer.step()
    return found.materialise()


def attack(protocol: AuditProtocol, **changes: object) -> AuditAttack:
    [found] = attacks_of(protocol.turned({"eval_attack": "training attack", **changes}), 10, EPS, 2)
    return found


def right(found: AuditAttack, network: nn.Module, task: Task, source: nn.Module | None = None) -> float:
    predicted = predictions_under(found, network, task.test, 0, task.test_fingerprint, 500, source)
    return float((predicted == task.test.labels.numpy()).mean())


def test_the_suite_is_six_attacks_around_the_protocols_own_step_size() -> None:
    suite = attacks_of(CANONICAL, 10, EPS, 5)
    assert [found.loss for found in suite] == ["ce"] * 3 + ["dlr"] * 3
    assert {(found.steps, found.reads) for found in suite} == {(SUITE_STEPS, "any")}
    assert [found.geometry.step_size / EPS for found in suite[:3]] == [Fraction(1, 8), Fraction(1, 4), Fraction(1, 2)]
    assert {found.loss for found in attacks_of(CANONICAL, 10, EPS, 2)} == {"ce", "margin"}
    assert len(attacks_of(CANONICAL.turned({"eval_loss": "ce"}), 10, EPS, 5)) == 3
    thesis = attacks_of(CANONICAL.turned({"step_size": "1.5"}), 10, EPS, 5)
    assert [found.geometry.step_size for found in thesis[:3]] == [Fraction(3, 4), Fraction(3, 2), Fraction(3)]


def test_a_step_is_in_units_of_the_protocols_own_eps() -> None:
    geometry = attack(CANONICAL, eps="eps/4").geometry
    assert (geometry.eps, geometry.step_size) == (EPS / 4, EPS / 16)


def test_a_tasks_classifier_is_taken_at_the_end_or_right_after_it() -> None:
    assert [turn_of(CANONICAL, task, 3) for task in range(3)] == [2, 2, 2]
    for changes in ({"eval_time": "each"}, {"sequence": "independent"}):
        assert [turn_of(CANONICAL.turned(changes), task, 3) for task in range(3)] == [0, 1, 2]


def test_a_quarter_of_eps_breaks_less(task: Task) -> None:
    network = classifier()
    clean = right(AuditAttack(CLEAN), network, task)
    weak, strong = (right(attack(CANONICAL, **changes), network, task) for changes in ({"eps": "eps/4"}, {}))
    assert strong < weak <= clean


def test_eps_in_normalised_space_breaks_less(task: Task) -> None:
    network = classifier()
    assert right(attack(CANONICAL, eps_space="normalised"), network, task) > right(attack(CANONICAL), network, task)


@pytest.mark.parametrize("loss", [CLEAN, "ce"])
def test_train_mode_leaves_the_classifier_as_it_was(loss: str, task: Task) -> None:
    network = classifier()
    before = classifier_fingerprint(network)
    found = AuditAttack(CLEAN, bn_mode="train") if loss == CLEAN else attack(CANONICAL, eval_bn="train")
    right(found, network, task)
    assert classifier_fingerprint(network) == before
    assert not any(module.training for module in network.modules())


def test_train_mode_sees_batches_of_one_class(task: Task) -> None:
    class Seen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.batches: list[int] = []
            self.bias = nn.Parameter(torch.zeros(()))

        def __deepcopy__(self, memo: object) -> Seen:
            return self

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            self.batches.append(len(images))
            return torch.stack([images.mean((1, 2, 3)), self.bias.expand(len(images))], 1)

    network = Seen()
    predictions_under(AuditAttack(CLEAN, bn_mode="train"), network, task.test, 0, "", 500)
    counts = np.bincount(task.test.labels.numpy())
    assert sum(network.batches) == counts.sum()
    assert max(network.batches) <= 32
    # No batch spans two classes: some first batches add up to the first class.
    assert counts[0] in np.cumsum(network.batches)


def test_images_of_another_network_break_less_than_ones_own(task: Task) -> None:
    network, other = classifier(0), classifier(1)
    own = right(attack(CANONICAL), network, task)
    assert right(attack(CANONICAL), network, task, source=other) > own
    assert right(attack(CANONICAL), network, task, source=network) == own


def test_a_part_of_the_test_images_has_the_classes_in_turn_and_stays_sorted(task: Task) -> None:
    part = chosen_images(task.test, 21)
    assert np.bincount(part.labels.numpy()).tolist() == [11, 10]
    assert torch.equal(part.labels, part.labels.sort().values)
    assert len(chosen_images(task.test, 10_000)) == len(task.test)


def test_what_the_box_of_normalised_space_does_to_images_is_told(task: Task) -> None:
    found = box_effect(task, EPS)
    assert found.raised + found.cut + found.inside == pytest.approx(1)
    assert found.eps_255 == pytest.approx(51 * float((task.train.images.double() / 255).std(correction=0)), rel=1e-4)
    # Wherever the box moves an entry further than eps no attack can bring it back, nor move it at all.
    assert found.movable < 1 - found.beyond_eps + 1e-9


def test_ball_and_box_that_do_not_meet_leave_one_point() -> None:
    mean, std = torch.full((1, 1, 1, 1), 0.5), torch.full((1, 1, 1, 1), 0.25)
    images = torch.tensor([0.0, 0.6, 1.0]).reshape(3, 1, 1, 1)
    lower, upper = Geometry("normalised", "normalised", Fraction(1, 10), Fraction(1)).bounds(images, mean, std)
    assert lower.flatten().tolist() == pytest.approx([0.5, 0.575, 0.75])
    assert upper.flatten().tolist() == pytest.approx([0.5, 0.625, 0.75])
