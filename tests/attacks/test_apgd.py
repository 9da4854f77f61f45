"""APGD in what it costs and what it leaves alone: starts, broken images, averaged gradients, settings."""

from __future__ import annotations

import copy
from fractions import Fraction

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from attacks.apgd import APGD
from attacks.base import AttackError
from attacks.pgd import PGD
from attacks.search import surface_point
from attacks.starts import Starts
from attacks.threat_model import ThreatModel
from tests.attacks.attack_cases import (
    EIGHT,
    Counting,
    Recording,
    any_random_case,
    batch,
    random_case,
    run_in_parts,
    small_conv,
    threat_model,
)
from tests.attacks.trained import STANDARD_ERROR, case


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
    for index, part in run_in_parts(attack, classifier, (images, labels, start), [1, 5, 6], seed=3):
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


@given(targets=st.integers(0, 2), **any_random_case(most_pixels=7))
@example(eps=Fraction(0), norm="linf", shape=(2, 1, 4, 4), dtype=torch.float32, targets=2, seed=0)
@example(eps=Fraction(0), norm="l2", shape=(2, 1, 4, 4), dtype=torch.float64, targets=0, seed=0)
@settings(max_examples=25)
def test_it_never_leaves_the_ball_or_the_box(eps, norm, shape, dtype, targets, seed):
    classifier, images, labels, start = random_case(shape, dtype, seed)
    model = threat_model(eps, norm)
    result = APGD(threat_model=model, steps=4, targets=targets).run(classifier, images, labels, start)
    model.check(result.adversarial, images)
    assert result.adversarial.dtype == dtype
    if not eps:
        assert torch.equal(result.adversarial, images)
