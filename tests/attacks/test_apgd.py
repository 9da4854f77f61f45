"""APGD is the published algorithm: against torchattacks, against a slow loop per image, and in what it costs."""

from __future__ import annotations

import copy
from fractions import Fraction

import numpy as np
import pytest
import torch
import torchattacks
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from attacks.apgd import APGD, checkpoints
from attacks.base import AttackError, margins
from attacks.parts.losses import LOSSES, TARGETED
from attacks.pgd import PGD
from attacks.search import surface_point
from attacks.starts import Starts
from attacks.threat_model import ThreatModel
from tests.attacks.attack_cases import EIGHT, Counting, batch, small_conv
from tests.attacks.trained import STANDARD_ERROR, accuracy_after, accuracy_on, case

NAMES = {"linf": "Linf", "l2": "L2"}
EPS = {"linf": "0.2", "l2": "0.9"}


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(("loss", "targets"), [("ce", 0), ("dlr", 0), ("dlr", 9)])
def test_it_is_as_strong_as_torchattacks(norm, loss, targets):
    differences = []
    for seed in range(3):
        attack = APGD(threat_model=ThreatModel(EPS[norm], norm), steps=20, loss=loss, targets=targets)
        mine = accuracy_after(attack, seed)
        network, images, labels, _ = case(seed)
        given = {"norm": NAMES[norm], "eps": float(attack.threat_model.eps), "steps": 20}
        with torch.random.fork_rng():  # it reseeds the global generator
            other = (
                torchattacks.APGDT(network, n_classes=5, **given)
                if targets
                else torchattacks.APGD(network, loss=loss, **given)
            )
            theirs = accuracy_on(other(images, labels), seed)
        assert 0.1 < mine < 0.6
        differences.append(mine - theirs)
    assert max(map(abs, differences)) < 2 * STANDARD_ERROR
    assert abs(sum(differences) / 3) < STANDARD_ERROR


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("loss", ["ce", "dlr"])
def test_from_the_same_starts_it_breaks_what_torchattacks_breaks(norm, loss, monkeypatch):
    """Image by image, in float64. For ce exactly; in dlr torchattacks compares the first loss with 0 and not with the start's."""
    network, images, labels, start = case(0)
    network, images = copy.deepcopy(network).double(), images.double()
    eps = {"linf": "1/4", "l2": "7/8"}[norm]
    result = APGD(threat_model=ThreatModel(eps, norm), steps=20, loss=loss).run(network, images, labels, start)
    attacked = network(images).argmax(1) == labels
    noise = (start.uniform if norm == "linf" else start.inside)(images.shape, 0).double()[attacked]
    with torch.random.fork_rng(), monkeypatch.context() as patch:
        patch.setattr(torch, "rand", lambda shape: (noise + 1) / 2)
        patch.setattr(torch, "randn", lambda shape: noise)
        other = torchattacks.APGD(network, norm=NAMES[norm], eps=float(Fraction(eps)), steps=20, loss=loss)
        theirs = network(other(images, labels)).argmax(1) == labels
    mine = result.final[20].predicted == labels
    assert 30 < mine.sum() < 270
    assert (mine != theirs).sum() <= (0 if loss == "ce" else 3)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_it_is_no_weaker_than_pgd_of_as_many_steps(norm):
    model = ThreatModel(EPS[norm], norm)
    for seed in range(3):
        plain = accuracy_after(PGD(threat_model=model, steps=20, step_size="eps/4"), seed)
        assert accuracy_after(APGD(threat_model=model, steps=20), seed) <= plain + STANDARD_ERROR / 2


def test_the_checkpoints_are_the_published_ones():
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(1) == [1]
    assert all(place <= steps for steps in range(1, 30) for place in checkpoints(steps))


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


class Recording(nn.Module):
    """Keeps every batch it is asked about: what was evaluated, and in which order."""

    def __init__(self, inner) -> None:
        super().__init__()
        self.inner, self.asked = inner, []

    def forward(self, images):
        self.asked.append(images.detach().clone())
        return self.inner(images)


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


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_it_starts_on_the_surface_of_the_ball_anew_for_each_draw(norm):
    images = torch.full((5, 2, 3, 3), 0.5)
    start = Starts(0, "digits/0", torch.arange(5))
    model = ThreatModel("0.1", norm)
    first, second = (surface_point(model.ball(images), start, draw) for draw in (0, 1))
    for found in (first, second):
        torch.testing.assert_close(model.largest_change(found, images), torch.full((5,), 0.1))
    assert (first != second).flatten(1).any(1).all()
    index = torch.tensor([3, 1])
    alone = surface_point(model.ball(images).select(index), start.select(index), 0)
    torch.testing.assert_close(alone, first[index], rtol=0, atol=1e-7)
    assert torch.equal(surface_point(ThreatModel(0, norm).ball(images), start, 0), images)


def test_restarts_go_on_with_what_stands_and_start_elsewhere():
    network, images, labels, start = case(0)
    images, labels, start = images[:60], labels[:60], start.select(torch.arange(60))
    model = ThreatModel("0.13")
    once = APGD(threat_model=model, steps=5).run(network, images, labels, start)
    recording = Recording(network)
    twice = APGD(threat_model=model, steps=5, restarts=2).run(recording, images, labels, start)
    stands = (once.final[5].predicted == labels).nonzero().squeeze(1)
    assert 0 < len(stands) < 60
    again = recording.asked[1 + 6]  # after the clean images and the six points of the first run
    torch.testing.assert_close(again, surface_point(model.ball(images).select(stands), start.select(stands), 1))
    assert (twice.final[5].margin <= once.final[5].margin).all()
    assert twice.trace.loss == once.trace.loss  # the trace is that of the first run


@pytest.mark.parametrize("targets", [0, 4])
def test_an_image_is_not_evaluated_again_once_it_is_broken(targets):
    """Alone it ends with its first wrong point (or with the other targets of that step); a batch costs what its images do."""
    network, images, labels, start = case(1)
    network, images, labels = copy.deepcopy(network).double(), images[:20].double(), labels[:20]
    attack = APGD(threat_model=ThreatModel("0.25"), steps=10, targets=targets)
    gradients = forwards = broken = 0
    for i in range(20):
        recording, index = Recording(network), torch.tensor([i])
        alone = attack.run(recording, images[index], labels[index], start.select(index))
        wrong = [bool(network(points).argmax(1) != labels[i]) for points in recording.asked]
        if any(wrong):
            broken += 1
            assert len(wrong) - 1 - wrong.index(True) <= max(0, targets - 2)
        gradients, forwards = gradients + alone.gradient_evaluations, forwards + alone.forward_passes
    assert 5 < broken < 20
    together = attack.run(network, images, labels, start.select(torch.arange(20)))
    assert (together.gradient_evaluations, together.forward_passes) == (gradients, forwards)


def test_broken_images_are_not_asked_again_and_wrong_ones_not_at_all():
    images, labels, start = batch(count=20, classes=4)
    classifier = small_conv(4)
    with torch.no_grad():
        right = classifier(images).argmax(1)
    wrong = (right + 1) % 4
    counting = Counting(classifier)
    result = APGD(threat_model=EIGHT, steps=10).run(counting, images, wrong, start)
    assert (counting.gradients, result.gradient_evaluations, result.forward_passes) == (0, 0, 20)
    labels = torch.where(torch.arange(20) < 10, right, wrong)
    large = APGD(threat_model=ThreatModel(1), steps=50).run(classifier, images, labels, start)
    assert (large.final[50].predicted != labels).all()
    assert large.gradient_evaluations < 10 * 50 / 2


def test_a_step_costs_one_gradient_for_each_image_that_stands_and_no_weight_gradient():
    images, _, start = batch(count=6, classes=4)
    classifier = small_conv(4).requires_grad_(False)
    labels = classifier(images).argmax(1)
    model = ThreatModel("0.01/255")  # too small to break anything
    for attack, runs in (
        (APGD(threat_model=model, steps=7), 1),
        (APGD(threat_model=model, steps=7, restarts=2), 2),
        (APGD(threat_model=model, steps=7, loss="dlr", targets=2), 2),
        (APGD(threat_model=model, steps=7, loss="dlr", targets=9), 3),
        (APGD(threat_model=model, steps=7, eot=3), 3),
    ):
        counting = Counting(classifier)
        result = attack.run(counting, images, labels, start)
        if not attack.targets:
            assert (counting.gradients, counting.forwards) == (7 * runs, 1 + 8 * runs), attack.name
        assert result.gradient_evaluations == 6 * 7 * runs, attack.name
        assert result.forward_passes == 6 + 6 * 8 * runs, attack.name
        assert len(result.trace.loss) == 8
        assert len(result.trace.zero_gradients) == 7


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


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("settings", [{"targets": 3}, {"restarts": 2, "loss": "dlr", "eot": 2}], ids=str)
def test_targets_and_restarts_do_not_depend_on_the_batch(norm, settings):
    images, labels, start = batch(classes=5, dtype=torch.float64)
    classifier = small_conv(5, dtype=torch.float64)
    with torch.no_grad():
        labels = torch.where(torch.arange(12) < 10, classifier(images).argmax(1), labels)
    attack = APGD(threat_model=ThreatModel("8/255" if norm == "linf" else "0.4", norm), steps=6, **settings)
    whole = attack.run(classifier, images, labels, start)
    broken = whole.final[6].predicted != labels
    assert broken.any()
    assert not broken.all()
    for index in torch.randperm(12, generator=torch.Generator().manual_seed(3)).split([1, 5, 6]):
        part = attack.run(classifier, images[index], labels[index], start.select(index))
        torch.testing.assert_close(part.adversarial, whole.adversarial[index], rtol=0, atol=1e-12)
        assert torch.equal(part.final[6].predicted, whole.final[6].predicted[index])


def test_more_targets_than_other_classes_are_all_of_them():
    images, labels, start = batch(classes=4)
    classifier = small_conv(4)
    results = [
        APGD(threat_model=EIGHT, steps=4, targets=targets).run(classifier, images, labels, start) for targets in (3, 9)
    ]
    assert torch.equal(results[0].adversarial, results[1].adversarial)
    assert results[0].gradient_evaluations == results[1].gradient_evaluations


def test_what_any_target_breaks_is_broken():
    """Of four classes only the least likely one can be reached, the third target of three."""

    class OnlyTheLast(nn.Module):
        def forward(self, x):
            rest = x.new_tensor([1.0, 0.9, 0.8]).expand(len(x), 3)
            return torch.cat([rest, x.mean((1, 2, 3))[:, None] + 0.2], 1)

    images, labels, start = torch.full((5, 1, 2, 2), 0.5), torch.zeros(5, dtype=torch.int64), batch(5)[2]
    settings = {"threat_model": ThreatModel("0.4"), "steps": 4, "loss": "margin"}
    for targets, predicted in ((1, 0), (2, 0), (3, 3)):
        result = APGD(**settings, targets=targets).run(OnlyTheLast(), images, labels, start)
        assert (result.final[4].predicted == predicted).all(), targets
    assert (OnlyTheLast()(result.adversarial).argmax(1) == 3).all()


def test_the_trace_tells_of_gradients_that_are_zero():
    class Quarter(nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, :16]  # three quarters of the pixels do not matter

    images, _, start = batch()
    model = ThreatModel("0.001/255")
    trace = APGD(threat_model=model, steps=2).run(Quarter(), images, images.flatten(1)[:, :16].argmax(1), start).trace
    assert trace.zero_gradients == [0.75, 0.75]
    assert trace.non_finite == [0.0, 0.0]


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("factor", [0.0, 1.0], ids=["nan", "infinite"])
def test_gradients_that_are_not_finite_show_in_the_trace_and_move_nothing(norm, factor):
    class Root(nn.Module):
        def forward(self, x):
            root = (x - x.detach()).sqrt().sum((1, 2, 3))  # 0, of slope 1/0
            return torch.stack([1 + 0 * root, factor * root], 1)

    images, _, start = batch()
    recording = Recording(Root())
    attack = APGD(threat_model=ThreatModel("0.1", norm), steps=2)
    result = attack.run(recording, images, torch.zeros(12, dtype=torch.int64), start)
    assert result.trace.non_finite == [1.0, 1.0]
    torch.testing.assert_close(recording.asked[3], recording.asked[1])


def test_averaged_gradients_break_a_random_classifier_that_one_gradient_does_not():
    class Noisy(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner, self.generator = inner, torch.Generator().manual_seed(0)

        def forward(self, images):
            noise = torch.randn(images.shape, generator=self.generator) * 1.5
            return self.inner(images + noise)

    network, images, labels, start = case(0)
    stands = {}
    for eot in (1, 20):
        attack = PGD(threat_model=ThreatModel("0.2"), steps=10, step_size="eps/4", eot=eot)
        result = attack.run(Noisy(network), images, labels, start)
        with torch.no_grad():
            stands[eot] = (network(result.adversarial).argmax(1) == labels).float().mean().item()
        assert result.gradient_evaluations == 300 * 10 * eot
    assert stands[20] < stands[1] - 2 * STANDARD_ERROR


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps = 0"),
        ({"restarts": 0}, "restarts = 0"),
        ({"targets": -1}, "targets = -1"),
        ({"eot": 0}, "eot = 0"),
        ({"loss": "dlrr"}, "did you mean dlr"),
        ({"rho": 2}, "rho = 2: expected a number from 0 to 1"),
        ({"rho": "much"}, "rho: 'much' is not a number"),
    ],
)
def test_wrong_settings_are_one_line(changes, message):
    with pytest.raises(AttackError, match=message):
        APGD(threat_model=EIGHT, **changes)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "apgd-100 linf 8/255"),
        ({"steps": 20, "loss": "dlr", "targets": 9}, "apgd-20 linf 8/255 loss=dlr targets=9"),
        ({"restarts": 2, "eot": 4, "rho": "0.5"}, "apgd-100 linf 8/255 r=2 eot=4 rho=1/2"),
    ],
)
def test_its_name_shows_what_differs_from_the_default(changes, name):
    attack = APGD(threat_model=EIGHT, **changes)
    assert attack.name == name
    assert APGD(threat_model=EIGHT, rho=0.75) == APGD(threat_model=EIGHT, rho=Fraction(3, 4))


def test_a_loss_that_needs_more_classes_says_so():
    with pytest.raises(AttackError, match="loss dlr needs 3 classes, the classifier has 2"):
        APGD(threat_model=EIGHT, loss="dlr").run(small_conv(2), *batch(classes=2))
    targeted = APGD(threat_model=EIGHT, loss="dlr", targets=1)
    with pytest.raises(AttackError, match="targeted loss dlr needs 4 classes, the classifier has 3"):
        targeted.run(small_conv(3), *batch())
    for attack, fewest in ((APGD(threat_model=EIGHT, loss="dlr"), 3), (targeted, 4)):
        attack.check_classes(fewest)
        with pytest.raises(AttackError, match=f"dlr needs {fewest} classes, the classifier has {fewest - 1}"):
            attack.check_classes(fewest - 1)  # before anything is run, not by the loss


@given(
    eps=st.fractions(0, 1, max_denominator=510),
    norm=st.sampled_from(["linf", "l2"]),
    shape=st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(3, 7), st.integers(3, 7)),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    targets=st.integers(0, 2),
    seed=st.integers(0, 2**31),
)
@example(eps=Fraction(0), norm="linf", shape=(2, 1, 4, 4), dtype=torch.float32, targets=2, seed=0)
@example(eps=Fraction(0), norm="l2", shape=(2, 1, 4, 4), dtype=torch.float64, targets=0, seed=0)
@settings(max_examples=25, deadline=None)
def test_it_never_leaves_the_ball_or_the_box(eps, norm, shape, dtype, targets, seed):
    generator = torch.Generator().manual_seed(seed)
    images = (torch.rand(shape, generator=generator, dtype=dtype) * 1.5 - 0.25).clamp(0, 1)
    classifier = small_conv(channels=shape[1], dtype=dtype)
    with torch.no_grad():
        labels = classifier(images).argmax(1)
    model = ThreatModel(3 * eps if norm == "l2" else eps, norm)
    attack = APGD(threat_model=model, steps=4, targets=targets)
    result = attack.run(classifier, images, labels, Starts(seed, "k", torch.arange(shape[0])))
    model.check(result.adversarial, images)
    assert result.adversarial.dtype == dtype
    if not eps:
        assert torch.equal(result.adversarial, images)
