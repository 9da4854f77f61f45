"""APGD is the published algorithm: against torchattacks, against a slow loop per image, and in what it costs."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
import torchattacks
from hypothesis import given, settings
from hypothesis import strategies as st

from attacks import apgd
from attacks.apgd import APGD, checkpoints, starting_point
from attacks.base import AttackError
from attacks.pgd import PGD
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
def test_it_is_no_weaker_than_pgd_of_as_many_steps(norm):
    model = ThreatModel(EPS[norm], norm)
    for seed in range(3):
        plain = accuracy_after(PGD(threat_model=model, steps=20, step_size="eps/4"), seed)
        assert accuracy_after(APGD(threat_model=model, steps=20), seed) <= plain + STANDARD_ERROR / 2


def test_the_checkpoints_are_the_published_ones():
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(1) == [1]
    assert all(place <= steps for steps in range(1, 30) for place in checkpoints(steps))


def slow(classifier, image, label, first, eps, norm, steps):
    """Algorithm 1 for one image, written down as it stands in the paper; returns the best point."""

    def project(x):
        if norm == "linf":
            x = torch.min(torch.max(x, image - eps), image + eps)
        else:
            change = x - image
            x = image + change * min(1.0, eps / max(change.norm().item(), 1e-12))
        return x.clamp(0, 1)

    def value(x):
        x = x.detach().requires_grad_()
        loss = F.cross_entropy(classifier(x[None]), label[None])
        return loss.item(), torch.autograd.grad(loss, x)[0]

    def go(x, gradient, size):
        step = gradient.sign() if norm == "linf" else gradient / gradient.norm().clamp_min(1e-12)
        return project(x + size * step)

    size, x_before, x = 2 * eps, first, first
    losses, gradient = [], None
    loss, gradient = value(x)
    losses.append(loss)
    best, best_x, best_gradient = loss, x, gradient
    best_at_last, halved_at_last, last_place = best, True, 0
    for k in range(1, steps + 1):
        ahead = go(x, gradient, size)
        new = ahead if k == 1 else project(x + 0.75 * (ahead - x) + 0.25 * (x - x_before))
        x_before, x = x, new
        loss, gradient = value(x)
        losses.append(loss)
        if loss > best:
            best, best_x, best_gradient = loss, x, gradient
        if k in checkpoints(steps):
            rises = sum(losses[i] > losses[i - 1] for i in range(last_place + 1, k + 1))
            halve = rises <= 0.75 * (k - last_place) or (not halved_at_last and best_at_last >= best)
            halved_at_last, best_at_last, last_place = halve, best, k
            if halve:
                size, x, gradient = size / 2, best_x, best_gradient
    return best


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_it_equals_a_slow_loop_over_images(norm, monkeypatch):
    """Images that are never broken, so that every walk goes to its end: the best losses are those of the slow loop."""
    images, _, start = batch(count=8, dtype=torch.float64, seed=3)
    classifier = small_conv(dtype=torch.float64)
    labels = classifier(images).argmax(1)
    model = ThreatModel("2/255" if norm == "linf" else "10/255", norm)
    walks = []
    finish = apgd._Walk.run
    monkeypatch.setattr(apgd._Walk, "run", lambda self: (finish(self), walks.append(self))[0])
    result = APGD(threat_model=model, steps=25).run(classifier, images, labels, start)
    stands = (result.final[25].predicted == labels).nonzero().squeeze(1).tolist()
    assert len(stands) > 4
    first = starting_point(model.ball(images), start, 0)
    expected = [slow(classifier, images[i], labels[i], first[i], float(model.eps), norm, 25) for i in stands]
    assert walks[0].best_loss.tolist() == pytest.approx(expected, rel=1e-6)
    assert (walks[0].step_size < 2 * float(model.eps)).any()


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
        result = attack.run(classifier, images, labels, start)
        assert result.gradient_evaluations == 6 * 7 * runs, attack.name
        assert result.forward_passes == 6 + 6 * 8 * runs, attack.name
        assert len(result.trace.loss) == 8
        assert len(result.trace.zero_gradients) == 7


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
    with pytest.raises(AttackError, match="targeted loss dlr needs 4 classes, the classifier has 3"):
        APGD(threat_model=EIGHT, loss="dlr", targets=1).run(small_conv(3), *batch())


@given(
    eps=st.fractions(0, 1, max_denominator=510),
    norm=st.sampled_from(["linf", "l2"]),
    shape=st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(3, 7), st.integers(3, 7)),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    targets=st.integers(0, 2),
    seed=st.integers(0, 2**31),
)
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
