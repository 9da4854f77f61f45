"""Distillation is that of the formula, on the images that it is said to be on, and the teacher only answers."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attacks.threat_model import ThreatModel
from methods.backbones import MultiHead, SmallConv, initialise
from methods.parts.consolidation.distillation import DistillingObjective, SigmoidDistillation, softened_cross_entropy
from methods.training import AdversarialTraining, Batch, CleanTraining, InnerAttack, Objective
from methods.training.algorithms.fast import FastSettings
from methods.training.algorithms.free import FreeSettings
from methods.training.algorithms.trades import TradesSettings

EPS = Fraction(1, 5)
OBJECTIVES: dict[str, Any] = {
    "clean": CleanTraining,
    "adversarial": AdversarialTraining,
    "trades": TradesSettings().objective,
    "free": FreeSettings(replays=3).objective,
    "fast": FastSettings().objective,
}


class Teacher(nn.Module):
    """Fixed answers of the old heads, which remember the images."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.weight, self.seen = torch.linspace(-3, 3, 64 * classes).reshape(64, classes), torch.empty(0)

    def forward(self, images: Tensor) -> Tensor:
        self.seen = images
        return images.flatten(1) @ self.weight / 10


def student() -> nn.Module:
    """Heads of 2, 3 and 2 classes side by side."""
    multi = MultiHead(SmallConv((1, 8, 8), 0.25), (2, 3, 2), (0.3,), (0.4,))
    initialise(multi, torch.Generator().manual_seed(0))
    return multi.for_seen(2).eval()


def batch(first_label: int = 0) -> Batch:
    images = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    return Batch(images, torch.arange(6) % 2 + first_label, torch.full((6,), 2))


def attack_on(net: nn.Module) -> InnerAttack:
    return InnerAttack(net, ThreatModel(EPS), 0.05, 3, "eval", torch.Generator().manual_seed(2))


def objective(net: nn.Module, inner: Objective, attacked: bool = True, **changes: Any) -> DistillingObjective:
    given = {
        "shown": slice(5, None),
        "heads": [slice(0, 2), slice(2, 5)],
        "strength": 0.7,
        "temperature": 2.0,
        **changes,
    }
    return DistillingObjective(inner, net, teacher=Teacher(5), attacked=attacked, **given)


def test_softening_is_a_root_of_probabilities_made_to_sum_to_one() -> None:
    generator = torch.Generator().manual_seed(0)
    new, old = torch.randn(7, 4, generator=generator).double(), torch.randn(7, 4, generator=generator).double()

    def root(logits: Tensor) -> Tensor:
        found = logits.softmax(1) ** (1 / 3)
        return found / found.sum(1, keepdim=True)

    expected = -(root(old) * root(new).log()).sum(1).mean()
    torch.testing.assert_close(softened_cross_entropy(new, old, 3.0), expected)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_its_loss_is_that_of_the_objective_inside_and_of_each_old_head(name: str) -> None:
    net, given = student(), batch()
    around = objective(net, OBJECTIVES[name]())
    loss, output = around.loss(net, given, attack_on(net))
    inside = OBJECTIVES[name]()
    alone, same_output = inside.loss(lambda images: net(images)[:, 5:], given, attack_on(net))
    assert torch.equal(output, same_output)
    seen = around.teacher.seen  # type: ignore[union-attr]
    answers, old = net(seen), Teacher(5)(seen)
    apart = [
        -((old[:, head] / 2).softmax(1) * (answers[:, head] / 2).log_softmax(1)).sum(1).mean()
        for head in (slice(0, 2), slice(2, 5))
    ]
    torch.testing.assert_close(loss, alone + 0.7 * sum(apart))
    inside_ball = (seen - given.images).abs().max() <= float(EPS) + 1e-6
    assert bool(inside_ball)
    # Free training begins at the images themselves.
    assert torch.equal(seen, given.images) is (name in ("clean", "free"))


def test_of_clean_images_it_is_if_that_is_asked_for() -> None:
    net, given = student(), batch()
    around = objective(net, AdversarialTraining(), attacked=False)
    around.loss(net, given, attack_on(net))
    assert torch.equal(around.teacher.seen, given.images)  # type: ignore[union-attr]


def test_a_teacher_that_agrees_takes_no_gradient() -> None:
    net, given = student(), batch()
    around = objective(net, CleanTraining(), strength=50.0)
    around.teacher = student()
    gradients = []
    for chosen in (around, CleanTraining()):
        net.zero_grad()
        chosen.loss(lambda images: net(images)[:, 5:], given, attack_on(net))[0].backward()
        gradients.append([torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in net.parameters()])
    for distilled, plain in zip(*gradients, strict=True):
        torch.testing.assert_close(distilled, plain, rtol=0, atol=2e-6)


def test_no_gradient_reaches_the_teacher() -> None:
    net = student()
    around = objective(net, AdversarialTraining())
    around.teacher = student()
    around.loss(net, batch(), attack_on(net))[0].backward()
    assert all(parameter.grad is None for parameter in around.teacher.parameters())


def test_sigmoids_are_summed_over_classes_or_averaged_and_old_ones_follow_the_teacher() -> None:
    net, given = student(), batch(first_label=5)
    around = SigmoidDistillation(
        AdversarialTraining(),
        net,
        averaged=False,
        shown=slice(None),
        teacher=Teacher(5),
        heads=[slice(0, 5)],
        strength=0.7,
        temperature=1.0,
        attacked=True,
    )
    loss, output = around.loss(net, given, attack_on(net))
    seen = around.teacher.seen  # type: ignore[union-attr]
    assert not torch.equal(seen, given.images)
    p, q = net(seen).sigmoid(), Teacher(5)(seen).sigmoid()
    right = F.one_hot(given.labels, 7)[:, 5:]
    new = -(right * p[:, 5:].log() + (1 - right) * (1 - p[:, 5:]).log()).sum(1).mean()
    old = -(q * p[:, :5].log() + (1 - q) * (1 - p[:, :5]).log()).sum(1).mean()
    torch.testing.assert_close(loss, new + 0.7 * old)
    assert torch.equal(output, net(seen))
    around.averaged = True
    torch.testing.assert_close(around.loss(net, given, attack_on(net))[0], (new + 0.7 * old) / 7)
