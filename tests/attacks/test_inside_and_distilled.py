"""Attacks that find what gradients and the faces of the ball hide."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from attacks.base import AttackError
from attacks.distilled import GROUP, Distilled
from attacks.inside import Inside
from attacks.parts.students import KernelStudent
from attacks.pgd import PGD
from attacks.threat_model import ThreatModel
from tests.attacks.attack_cases import accuracy, batch

BALL = ThreatModel("1/5")
L2 = ThreatModel("1", "l2")


class Undoes(nn.Module):
    """Takes back, pixel by pixel, what steps of eps/4 make of an image; the gradient passes as if it did not."""

    def __init__(self, inner: nn.Module, images: Tensor) -> None:
        super().__init__()
        self.inner, self.images = inner, images

    def forward(self, points: Tensor) -> Tensor:
        clean = self.images[torch.cdist(points.detach().flatten(1), self.images.flatten(1)).argmin(1)]
        steps = 0.05 * torch.arange(-4, 5).view(-1, 1, 1, 1, 1)
        known = ((points.detach() - (clean + steps).clamp(0, 1)).abs() < 1e-5).any(0)
        return self.inner(points + torch.where(known, clean - points, 0).detach())


class Cut(nn.Module):
    """A classifier without a gradient."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, points: Tensor) -> Tensor:
        return self.inner(points.detach()) + 0 * points.sum()


def case(count: int = 40):
    """A classifier that is easily broken, images with the labels that it gives them, and starts."""
    generator = torch.Generator().manual_seed(4)
    classifier = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).requires_grad_(False)
    classifier[1].weight.copy_(torch.randn(3, 64, generator=generator))
    classifier[1].bias.copy_(-classifier[1].weight.sum(1) / 2)
    images, _, start = batch(count)
    return classifier, images, classifier(images).argmax(1), start


def test_points_inside_break_what_undoes_the_changes_that_walks_make():
    classifier, images, labels, start = case()
    # From the image in steps of eps: every iterate is on the faces.
    outside = PGD(threat_model=BALL, steps=10, step_size="eps", random_start=False)
    assert accuracy(outside.run(classifier, images, labels, start).any[10], labels) < 0.1
    purified = Undoes(classifier, images)
    assert accuracy(outside.run(purified, images, labels, start).any[10], labels) == 1.0
    inside = Inside(threat_model=BALL)
    assert accuracy(inside.run(purified, images, labels, start).any[6], labels) < 0.1


@pytest.mark.parametrize("model", [BALL, L2], ids=str)
def test_a_student_breaks_what_has_no_gradient(model):
    classifier, images, labels, start = case()
    size = "eps/4"
    assert (
        accuracy(
            PGD(threat_model=model, steps=10, step_size=size).run(Cut(classifier), images, labels, start).any[10],
            labels,
        )
        > 0.7
    )
    found = Distilled(threat_model=model).run(Cut(classifier), images, labels, start)
    assert accuracy(found.any[0], labels) < 0.1
    assert found.gradient_evaluations == 0


@pytest.mark.parametrize("attack", [Inside(threat_model=BALL), Distilled(threat_model=BALL)], ids=lambda a: a.kind)
def test_passes_are_the_most_that_it_costs(attack):
    classifier, images, labels, start = case()
    found = attack.run(classifier, images, labels, start)
    assert found.forward_passes + found.gradient_evaluations <= len(images) * attack.passes()
    # Against a classifier that nothing breaks it costs all of them.
    constant = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    nn.init.zeros_(constant[1].weight)
    constant[1].bias.data = torch.tensor([1.0, 0.0, 0.0])
    found = attack.run(constant, images, torch.zeros_like(labels), start)
    assert found.forward_passes + found.gradient_evaluations == len(images) * attack.passes()


def test_more_images_than_share_a_student_are_taught_in_groups():
    classifier, images, labels, start = case(GROUP + 5)
    attack = Distilled(threat_model=BALL, draws=2, rounds=1)
    whole = attack.run(classifier, images, labels, start)
    first = torch.arange(GROUP)
    part = attack.run(classifier, images[:GROUP], labels[:GROUP], start.select(first))
    torch.testing.assert_close(whole.any[0].margin[:GROUP], part.any[0].margin, atol=1e-3, rtol=1e-3)


def test_a_student_repeats_what_it_was_taught():
    classifier, images, _, _ = case()
    with torch.no_grad():
        logits = classifier(images)
    student = KernelStudent(images, logits)
    assert (student(images).argmax(1) == logits.argmax(1)).float().mean() > 0.9


@pytest.mark.parametrize("fields", [{"draws": 1}, {"rounds": 0}, {"draws": True}])
def test_impossible_settings_of_a_student_are_one_line(fields):
    with pytest.raises(AttackError, match=min(fields)):
        replace(Distilled(threat_model=BALL), **fields)


@pytest.mark.parametrize("fields", [{"steps": 0}, {"shares": 0}, {"mixed": -1}, {"random": 0.5}])
def test_impossible_settings_of_points_inside_are_one_line(fields):
    with pytest.raises(AttackError, match=min(fields)):
        replace(Inside(threat_model=BALL), **fields)
