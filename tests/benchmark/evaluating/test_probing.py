"""Probes of a few passes: what an honest classifier answers, and what randomness and looking at the batch do to it."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from attacks.base import AttackError
from benchmark.contract.attack_trial import SmoothConv
from benchmark.evaluating.fingerprints import classifier_fingerprint
from benchmark.evaluating.probing import IMAGES, probe
from benchmark.planning.presets import load_preset
from scenarios.base import SourceOptions


@pytest.fixture(scope="module")
def task():
    return load_preset("digits").scenario(SourceOptions()).load()[0]


class Around(nn.Module):
    def __init__(self, wrong):
        super().__init__()
        self.inner, self.wrong = SmoothConv(2).eval(), wrong

    def forward(self, images):
        return self.wrong(self.inner(images), images)


def answers(task, wrong=lambda logits, images: logits):
    classifier = Around(wrong).eval().requires_grad_(False)
    return {fact["name"]: fact for fact in probe(classifier, task)}


def test_an_honest_classifier_answers_the_same_up_to_rounding(task):
    found = answers(task)
    assert found["repeat_difference"]["value"] == 0
    assert found["batch_difference"]["value"] < 1e-5
    assert json.loads(found["batch_difference"]["text"]) == {"images": IMAGES, "flips": []}


def test_noise_shows_when_asked_twice(task):
    found = answers(task, lambda logits, images: logits + 0.01 * torch.rand_like(logits))
    assert found["repeat_difference"]["value"] > 1e-4


@pytest.mark.parametrize("share", [1.0, 0.01])
def test_a_look_at_the_batch_shows_alone_and_in_other_company(task, share):
    found = answers(task, lambda logits, images: logits - share * logits.mean(0, keepdim=True))
    assert found["repeat_difference"]["value"] == 0
    assert found["batch_difference"]["value"] > 1e-3
    if share == 1.0:
        flips = json.loads(found["batch_difference"]["text"])["flips"]
        assert flips
        assert set(flips) <= set(task.test.samples.tolist())


def test_an_order_that_matters_shows(task):
    def first_comes_first(logits, images):
        return logits + torch.arange(len(logits))[:, None] * torch.tensor([0.01, -0.01])

    assert answers(task, first_comes_first)["batch_difference"]["value"] > 1e-3


def test_what_is_no_number_is_missing_and_not_small(task):
    calls = []

    def later_nothing(logits, images):
        calls.append(1)
        return logits if len(calls) == 1 else logits * torch.nan

    assert answers(task, later_nothing)["repeat_difference"]["value"] is None


def test_what_a_classifier_does_to_itself_on_the_way_is_put_back(task):
    class Counting(Around):
        def __init__(self):
            super().__init__(lambda logits, images: logits)
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, images):
            self.seen += len(images)
            return super().forward(images)

    classifier = Counting().eval().requires_grad_(False)
    before = classifier_fingerprint(classifier)
    probe(classifier, task)
    assert classifier_fingerprint(classifier) == before


def test_another_shape_for_one_image_is_told_in_the_words_of_the_contract(task):
    with pytest.raises(AttackError, match=r"shape \(2,\); expected float logits \(1, C\)"):
        answers(task, lambda logits, images: logits.squeeze())
