"""APGD goes the published way, point by point: against a slow loop per image and closed forms."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from attacks.apgd import APGD, checkpoints
from attacks.base import margins
from attacks.parts.losses import LOSSES, TARGETED
from attacks.search import surface_point
from attacks.starts import Starts
from attacks.threat_model import ThreatModel
from tests.attacks.attack_cases import Recording, batch, small_conv


def slow(value, image, first, eps, norm, steps, rho):
    """Algorithm 1 for one image in numpy, its schedule counted down step by step. Nothing of attacks/apgd.py is used.

    value: a point to its loss and gradient. Returns all points in order and why the step size was halved: "rises", "gain".
    """

    def project(x):
        if norm == "linf":
            return x.clip((image - eps).clip(0, 1), (image + eps).clip(0, 1))
        change = x - image
        return (image + change * min(1.0, eps / max(np.sqrt((change**2).sum()), 1e-12))).clip(0, 1)

    def ahead(x, gradient, size):
        length = np.sqrt((gradient**2).sum())
        return project(x + size * (np.sign(gradient) if norm == "linf" else gradient / max(length, 1e-12)))

    points, why = [first], []
    loss, gradient = value(first)
    best = (loss, first, gradient)
    x, before, size = first, first, 2 * eps
    interval, waited, rises, halved, best_then = max(1, 22 * steps // 100), 0, 0, True, loss
    for k in range(steps):
        z = ahead(x, gradient, size)
        new = z if k == 0 else project(x + 0.75 * (z - x) + 0.25 * (x - before))
        before, x = x, new
        points.append(x)
        previous, (loss, gradient) = loss, value(x)
        rises += loss > previous
        if loss > best[0]:
            best = (loss, x, gradient)
        waited += 1
        if waited == interval:
            few, none = rises <= rho * waited, not halved and best_then >= best[0]
            halved, best_then = bool(few or none), best[0]
            if halved:
                why.append("rises" if few else "gain")
                size, (_, x, gradient) = size / 2, best
            interval, waited, rises = max(interval - max(1, 3 * steps // 100), max(1, 6 * steps // 100)), 0, 0
    return points, why


class Quadratic(nn.Module):
    """Two classes that differ by x'Ax/2 + b'x + c, A of both signs; c is so low that class 0 wins everywhere."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        generator = np.random.default_rng(seed)
        square = generator.normal(size=(9, 9))
        self.a, self.b, self.c = 6 * (square + square.T), generator.normal(size=9), -300.0

    def forward(self, images):
        x = images.flatten(1)
        a, b = torch.from_numpy(self.a), torch.from_numpy(self.b)
        difference = (x @ a * x).sum(1) / 2 + x @ b + self.c
        return torch.stack([torch.zeros_like(difference), difference], 1)

    def margin(self, point):
        """The margin loss for class 0, and its gradient."""
        x = point.reshape(9)
        return x @ self.a @ x / 2 + self.b @ x + self.c, (self.a @ x + self.b).reshape(point.shape)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(("steps", "rho"), [(40, "3/4"), (7, "3/4"), (25, "1/4")])
def test_every_point_of_a_walk_is_that_of_a_slow_loop_on_a_quadratic(norm, steps, rho):
    """The classifier is right everywhere, so that no walk ends early."""
    images = torch.from_numpy(np.random.default_rng(5).random((6, 1, 3, 3)))
    start = Starts(0, "quadratic", torch.arange(6))
    model = ThreatModel("5/8", norm)  # exact in float32, in which a ball keeps its radius
    classifier = Quadratic(seed=1)
    recording = Recording(classifier)
    attack = APGD(threat_model=model, steps=steps, loss="margin", rho=rho)
    result = attack.run(recording, images, torch.zeros(6, dtype=torch.int64), start)
    assert not result.final[steps].predicted.any()
    _, *walked = recording.asked  # first the clean images
    first, reasons = surface_point(model.ball(images), start, 0), []
    for i in range(6):
        points, why = slow(classifier.margin, images[i].numpy(), first[i].numpy(), 5 / 8, norm, steps, Fraction(rho))
        np.testing.assert_allclose(np.stack([each[i].numpy() for each in walked]), np.stack(points), atol=1e-9)
        reasons += why
    if rho == "1/4":  # at 3/4 the first condition is nearly always met before the second matters
        assert {"rises", "gain"} == set(reasons)
    assert "rises" in reasons


class Timed(nn.Module):
    """Its margin loss rises in 29 steps and then only falls, and asks for the opposite corner each time."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def margin(self, point):
        level, slope = (self.step if self.step <= 29 else -self.step), 1e-3 * (-1) ** self.step
        self.step += 1
        return level + slope * point.sum(), np.full(point.shape, slope)

    def forward(self, images):
        loss, _ = self.margin(images)
        return torch.stack([images.new_tensor([1000.0]), loss[None]], 1)


def test_rho_is_exact():
    """29 rises in 100 steps are not above 0.29 of them, though 0.29 * 100 is less than 29 in floating point."""
    image, start = torch.full((1, 1, 2, 2), 0.5, dtype=torch.float64), Starts(0, "timed", torch.arange(1))
    model, recording = ThreatModel("0.1"), Recording(Timed(-1))
    assert checkpoints(455)[0] == 100
    APGD(threat_model=model, steps=455, loss="margin", rho="0.29").run(recording, image, torch.tensor([0]), start)
    first = surface_point(model.ball(image), start, 0)[0].numpy()
    points, why = slow(Timed(0).margin, image[0].numpy(), first, 0.1, "linf", 455, Fraction(29, 100))
    assert why[0] == "rises"
    np.testing.assert_allclose(torch.cat(recording.asked[1:]).numpy(), np.stack(points), atol=1e-9)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(("loss", "targets"), [("ce", 0), ("dlr", 0), ("ce", 4), ("dlr", 4), ("margin", 4)])
def test_every_loss_and_target_is_walked_as_by_a_slow_loop(norm, loss, targets):
    images, _, start = batch(count=3, classes=5, dtype=torch.float64, seed=3)
    classifier = small_conv(5, dtype=torch.float64)
    logits = classifier(images).detach()
    labels = logits.argmax(1)
    model = ThreatModel("1/512" if norm == "linf" else "1/64", norm)
    recording = Recording(classifier)
    result = APGD(threat_model=model, steps=12, loss=loss, targets=targets).run(recording, images, labels, start)
    assert torch.equal(result.final[12].predicted, labels)  # nothing was broken: every walk went to its end
    # The likeliest target alone, then the others: 13 points each, the clean images before them. Three rows go at a time.
    ends = [13 * rank for rank in range(1 + max(1, targets))]
    asked = recording.asked[1:14] + [part for k in range(max(1, targets) - 1) for part in recording.asked[14 + k :: 3]]
    assert len(asked) == ends[-1]
    for rank in range(max(1, targets)):
        first = surface_point(model.ball(images), start, rank)
        for i in range(3):
            others = logits[i].argsort(descending=True)[1:]
            target = others[rank : rank + 1] if targets else None

            def value(point, label=labels[i : i + 1], target=target):
                x = torch.from_numpy(point)[None].requires_grad_()
                out = classifier(x)
                each = LOSSES[loss](out, label) if target is None else TARGETED[loss](out, label, target)
                return each.item(), torch.autograd.grad(each.sum(), x)[0][0].numpy()

            points, _ = slow(value, images[i].numpy(), first[i].numpy(), float(model.eps), norm, 12, 0.75)
            mine = np.stack([each[i].numpy() for each in asked[ends[rank] : ends[rank + 1]]])
            np.testing.assert_allclose(mine, np.stack(points), atol=1e-9)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("loss", ["ce", "margin"])
def test_on_a_linear_classifier_it_finds_the_closed_form_worst_case(norm, loss):
    generator = torch.Generator().manual_seed(2)
    # For l2 away from the box, where the worst case is a step of eps along the weights.
    images = torch.rand(40, 1, 4, 4, generator=generator, dtype=torch.float64) * (1 if norm == "linf" else 0.5)
    images = images if norm == "linf" else images + 0.25
    weight = torch.randn(2, 16, generator=generator, dtype=torch.float64)
    classifier = nn.Linear(16, 2, dtype=torch.float64).requires_grad_(False)
    classifier.weight.copy_(weight)
    classifier.bias.copy_(torch.tensor([2.0, -0.5]))
    network = nn.Sequential(nn.Flatten(), classifier)
    labels = network(images).argmax(1)
    slope = weight[labels] - weight[1 - labels]
    x, clean = images.flatten(1), margins(network(images), labels).double()
    if norm == "linf":
        change = torch.where(slope > 0, (x - 0.05).clamp_min(0), (x + 0.05).clamp_max(1)) - x
        expected = clean + (slope * change).sum(1)
    else:
        expected = clean - 0.35 * slope.norm(dim=1)
    attack = APGD(threat_model=ThreatModel("0.05" if norm == "linf" else "0.35", norm), steps=30, loss=loss)
    result = attack.run(network, images, labels, Starts(0, "linear", torch.arange(40)))
    stands = result.final[30].predicted == labels
    assert 10 < stands.sum() < 35
    assert stands.tolist() == (expected > 0).tolist()
    assert result.final[30].margin[stands].tolist() == pytest.approx(expected[stands].tolist(), abs=1e-5)


class InTurn(nn.Module):
    """Two classifiers that answer in turn."""

    def __init__(self, *inner) -> None:
        super().__init__()
        self.inner, self.calls = inner, 0

    def forward(self, images):
        self.calls += 1
        return self.inner[self.calls % len(self.inner)](images)


def test_eot_walks_on_the_average_of_what_the_classifier_says():
    images = torch.from_numpy(np.random.default_rng(5).random((4, 1, 3, 3)))
    inputs = images, torch.zeros(4, dtype=torch.int64), Starts(0, "quadratic", torch.arange(4))
    first, second, average = Quadratic(1), Quadratic(2), Quadratic(3)
    average.a, average.b, average.c = (first.a + second.a) / 2, (first.b + second.b) / 2, (first.c + second.c) / 2
    settings = {"threat_model": ThreatModel("0.3"), "steps": 12, "loss": "margin"}
    recording, expected = Recording(InTurn(first, second)), Recording(average)
    result = APGD(**settings, eot=2).run(recording, *inputs)
    plain = APGD(**settings).run(expected, *inputs)
    assert len(recording.asked) == 1 + 2 * 13
    torch.testing.assert_close(recording.asked[1::2], expected.asked[1:])
    assert result.trace.loss == pytest.approx(plain.trace.loss)
