"""Gradients compared with answers: true ones, untrue ones of several kinds, and classifiers that are hard to ask."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from torch import nn

from attacks.threat_model import ThreatModel
from benchmark.evaluating.fingerprints import classifier_fingerprint
from benchmark.evaluating.inspection.gradient_truth import IMAGES, compare_gradients
from benchmark.evaluating.questions import QUESTIONS
from benchmark.planning.presets import load_preset
from reports.checks.gradients import UNTRUE_FAIL, UNTRUE_WARN
from results.schema import GRADIENTS
from scenarios.base import SourceOptions
from tests.benchmark.evaluating.planted_gradients import NoCopy, Outside, honest, network, through, untrue

BALL = ThreatModel("51/255")


@pytest.fixture(scope="module")
def task():
    return load_preset("digits").scenario(SourceOptions()).load()[0]


def asked(classifier, task, model=BALL):
    """The values of the facts by name, and what is said about them."""
    facts = compare_gradients(classifier.eval().requires_grad_(False), task, model, seed=0)
    assert {(fact["task"], fact["phase"]) for fact in facts} == {(task.id, GRADIENTS)}
    return {fact["name"]: fact["value"] for fact in facts}, json.loads(facts[0]["text"])


@pytest.mark.parametrize("name", honest())
def test_a_true_gradient_adds_up_to_the_answers(task, name):
    values, said = asked(honest()[name], task)
    assert values["gradient_error"] <= UNTRUE_WARN
    assert (said["images"], said["moved"], said["random"]) == (IMAGES, IMAGES, False)


@pytest.mark.parametrize("name", untrue())
def test_an_untrue_gradient_does_not(task, name):
    values, said = asked(untrue()[name], task)
    assert values["gradient_error"] > UNTRUE_FAIL
    assert set(said["wrong"]) <= set(task.test.samples.tolist())
    assert len(said["wrong"]) > IMAGES / 4


@pytest.mark.parametrize("label", [0, 1])
def test_a_gradient_that_is_untrue_for_one_class_alone_shows(task, label):
    honest_one = network()

    def cut(logits):
        return torch.where((logits.argmax(1) == label)[:, None], logits.detach(), logits)

    values, _ = asked(Outside(honest_one, after=cut), task)
    assert values["gradient_error"] > UNTRUE_FAIL


def test_the_factor_of_a_gradient_is_told(task):
    tenth = Outside(network(), after=lambda logits: 0.9 * logits.detach() + 0.1 * logits)
    assert asked(network(), task)[0]["gradient_scale"] == pytest.approx(1, abs=0.05)
    assert asked(tenth, task)[0]["gradient_scale"] == pytest.approx(10, abs=0.5)


def test_answers_are_compared_in_float64_where_the_classifier_has_it(task):
    values, said = asked(network(), task)
    assert said["arithmetic"] == "float64"
    assert values["gradient_error_nearby"] < 1e-3
    assert asked(NoCopy(network()), task)[1]["arithmetic"] == "float32 (RuntimeError in float64)"


def test_a_copy_that_answers_differently_in_float64_is_not_used(task):
    class Other(Outside):
        def forward(self, images):
            return super().forward(images) * (2 if images.dtype == torch.float64 else 1)

    assert asked(Other(network()), task)[1]["arithmetic"] == "float32 (a copy in float64 answers differently)"


def test_rounding_shows_as_flat_nearby(task):
    values, said = asked(Outside(network(), before=through(lambda images: (images * 128).round() / 128)), task)
    assert said["flat"]
    assert values["gradient_error_nearby"] == pytest.approx(1)
    assert values["gradient_error"] <= UNTRUE_WARN


def test_a_random_classifier_is_called_random(task):
    noisy = Outside(network(), before=lambda images: images + 0.02 * torch.randn_like(images))
    assert asked(noisy, task)[1]["random"]


def test_a_classifier_that_never_moves_is_told_apart_from_a_true_one(task):
    values, said = asked(Outside(network(), before=torch.zeros_like), task)
    assert (values["gradient_error"], said["moved"]) == (0, 0)


def test_answers_that_are_no_numbers_are_no_small_error(task):
    assert asked(Outside(network(), after=lambda logits: logits * torch.nan), task)[0]["gradient_error"] is None


def test_a_classifier_that_lies_to_attacks_alone_finds_their_modules_on_the_stack(task):
    class HonestElsewhere(nn.Module):
        def __init__(self):
            super().__init__()
            self.honest, self.lying = network(), untrue()["a twin"]

        def forward(self, images):
            frame, callers = sys._getframe(), set()
            while frame is not None:
                callers.add(frame.f_globals.get("__name__"))
                frame = frame.f_back
            attacked = {"benchmark.evaluating.attacking", "attacks.victim"} <= callers
            return (self.lying if attacked else self.honest)(images)

    asking = load_preset("digits").asking
    facts = QUESTIONS[GRADIENTS](HonestElsewhere().eval().requires_grad_(False), task, asking)
    assert facts[0]["value"] > UNTRUE_FAIL


@pytest.mark.parametrize("model", [ThreatModel("2", "l2"), ThreatModel(0)])
def test_other_balls(task, model):
    assert asked(network(), task, model)[0]["gradient_error"] <= UNTRUE_WARN
    assert asked(untrue()["a twin"], task, model)[0]["gradient_error"] > UNTRUE_FAIL


def test_a_classifier_that_raises_is_no_number(task):
    def refuse(images):
        raise RuntimeError("not today")

    with pytest.raises(RuntimeError, match="not today"):
        asked(Outside(network(), before=refuse), task)


def test_everything_is_put_back_and_repeats(task):
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network()
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, images):
            self.seen += len(images)
            return self.inner(images)

    classifier = Counting().eval().requires_grad_(False)
    before, drawn = classifier_fingerprint(classifier), torch.get_rng_state()
    first = compare_gradients(classifier, task, BALL, seed=0)
    assert classifier_fingerprint(classifier) == before
    assert torch.equal(torch.get_rng_state(), drawn)
    assert compare_gradients(classifier, task, BALL, seed=0) == first
    assert compare_gradients(classifier, task, BALL, seed=1) != first
