"""Checks of gradients: are they those of the answers, and does the loss rise by them?"""

from __future__ import annotations

import json

import numpy as np
import pytest

from reports.boards.building import judged
from reports.checks import gradients as gradient_checks
from reports.checks.check import FAIL, NOT_RUN, PASS, WARN
from results import load
from tests.reports.synthetic_runs import FakeRun, clean, gradient_facts, pgd, write_run


def verdict(tmp_path, check=gradient_checks.gradients_are_true, **fields):
    write_run(tmp_path, FakeRun(**fields))
    (seed,) = judged(load(tmp_path, None), "digits")
    return check(seed.evidence)


# -- gradients that are true ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status"),
    [(0.0, PASS), (0.08, PASS), (0.11, WARN), (0.19, WARN), (0.21, FAIL), (1.0, FAIL), (None, FAIL)],
)
def test_a_gradient_that_is_not_that_of_the_answers_fails(tmp_path, error, status):
    found = verdict(tmp_path, facts=gradient_facts(3, error, nearby=error, wrong=[4, 7]))
    assert found.status == status
    if status != PASS:
        assert "on task 2 the gradient is not that of the answers" in found.reason
        assert found.samples == ((2, 4), (2, 7))


def test_rounding_that_evens_out_over_the_ball_is_harmless_and_told(tmp_path):
    found = verdict(tmp_path, facts=gradient_facts(3, 0.04, nearby=1.0, flat=True))
    assert (found.status, "something is rounded" in found.reason) == (PASS, True)


@pytest.mark.parametrize(("error", "status"), [(0.3, WARN), (0.4, FAIL)])
def test_rounding_is_given_more_room_and_not_all_of_it(tmp_path, error, status):
    found = verdict(tmp_path, facts=gradient_facts(3, error, nearby=1.0, flat=True))
    assert (found.status, "something is rounded" in found.reason) == (status, True)


def test_answers_that_jump_are_told_from_a_foreign_gradient(tmp_path):
    jumping = verdict(tmp_path / "a", facts=gradient_facts(3, 0.9, nearby=0.0))
    foreign = verdict(tmp_path / "b", facts=gradient_facts(3, 0.9, nearby=0.9))
    assert ("jump" in jumping.reason, "jump" in foreign.reason) == (True, False)
    assert jumping.status == foreign.status == FAIL


def test_a_random_classifier_is_no_proof_either_way(tmp_path):
    found = verdict(tmp_path, facts=gradient_facts(3, 0.9, random=True))
    assert (found.status, "random" in found.reason) == (WARN, True)


def test_a_classifier_that_never_moves_does_not_pass(tmp_path):
    still = [fact | ({"text": json.dumps({"moved": 0})} if fact["text"] else {}) for fact in gradient_facts(3, 0.0)]
    assert verdict(tmp_path, facts=still).status == NOT_RUN


def test_a_text_that_cannot_be_read_hides_no_error(tmp_path):
    facts = [{**fact, "text": "{"} for fact in gradient_facts(3, 0.5)]
    assert verdict(tmp_path, facts=facts).status == FAIL


def test_gradients_that_were_never_compared_do_not_pass_and_a_crash_fails(tmp_path):
    assert verdict(tmp_path / "a").status == NOT_RUN
    crash = {"stage": "gradients on task 1", "check": "gradients", "task": 1, "message": "RuntimeError: not today"}
    found = verdict(tmp_path / "b", failure=crash)
    assert (found.status, "not today" in found.reason) == (FAIL, True)


# -- zeros in it ------------------------------------------------------------------------------------------------------

THIRD = {"loss": [0.5, 0.6], "zero_gradients": [1 / 3] * 10, "non_finite": [0.0] * 10}
SEES = {**THIRD, "zero_gradients": [0.0] * 10}


def zeros(tmp_path, facts, final):
    fields = {"facts": facts, "trace": THIRD, "final": [final], "quality": 3.0}
    return verdict(tmp_path, gradient_checks.gradients_carry_signal, **fields)


def test_inputs_that_are_not_read_hide_nothing_and_the_reader_is_told(tmp_path):
    found = zeros(tmp_path, gradient_facts(3, nearby=1e-6), pgd(40, loss="margin"))
    assert found.status == WARN
    assert "33 % of the inputs are not read" in found.reason


@pytest.mark.parametrize(
    "facts", [gradient_facts(3, error=0.58), gradient_facts(3, nearby=0.58), []], ids=["far", "near", "none"]
)
def test_zeros_in_a_gradient_that_is_not_known_to_be_that_of_the_answers_fail(tmp_path, facts):
    assert zeros(tmp_path, facts, pgd(40, loss="margin")).status == FAIL


@pytest.mark.parametrize("final", [pgd(40, loss="margin", trace=SEES), pgd(40)], ids=["signal", "not asked"])
def test_zeros_that_a_saturated_softmax_may_have_made_fail(tmp_path, final):
    """Differences of logits have a gradient there, or nobody asked."""
    assert zeros(tmp_path, gradient_facts(3, nearby=1e-6), final).status == FAIL


# -- the loss ---------------------------------------------------------------------------------------------------------


def walked(*loss):
    return {"loss": list(loss), "zero_gradients": [0.0], "non_finite": [0.0]}


@pytest.mark.parametrize(
    ("loss", "status"), [((0.5, 0.6), PASS), ((0.5, 0.4), FAIL), ((0.0, 0.0), FAIL), ((0.5, np.nan), WARN)]
)
def test_accuracy_above_chance_by_an_attack_whose_loss_did_not_rise_is_a_contradiction(tmp_path, loss, status):
    found = verdict(tmp_path, gradient_checks.loss_rises, trace=walked(*loss))
    assert found.status == status
    assert ("above chance" in found.reason) == (status == FAIL)


@pytest.mark.parametrize("attack", [{"size": "1"}, {"size": "2"}, {"size": "0"}, {"eps": "2/5"}], ids=str)
def test_an_attack_that_need_not_climb_or_is_not_the_rankings_warns(tmp_path, attack):
    falling = pgd(40, trace=walked(0.5, 0.4), **attack)
    found = verdict(tmp_path, gradient_checks.loss_rises, matrix=[clean(), pgd(10)], final=[falling])
    assert found.status == WARN
    assert falling.name in found.reason


def test_the_loss_of_an_attack_that_may_change_nothing_need_not_rise(tmp_path):
    still = pgd(40, trace=walked(0.5, 0.5), eps="0", size="0")
    found = verdict(
        tmp_path, gradient_checks.loss_rises, matrix=[clean(), pgd(10, trace=walked(0.5, 0.6))], final=[still]
    )
    assert found.status == PASS


def test_the_contradiction_is_told_where_another_attack_only_warns(tmp_path):
    silly, contradicting = pgd(40, size="2", trace=walked(0.9, 0.1)), pgd(40, trace=walked(0.5, 0.4))
    found = verdict(tmp_path, gradient_checks.loss_rises, matrix=[clean(), pgd(10)], final=[silly, contradicting])
    assert (found.status, contradicting.name in found.reason) == (FAIL, True)


def test_a_network_at_chance_has_no_loss_to_raise(tmp_path):
    def half(name, i, j, margin):
        return np.where(np.arange(len(margin)) % 2 == 0, 1.0, -1.0)

    assert verdict(tmp_path, gradient_checks.loss_rises, trace=walked(0.5, 0.5), edit_margin=half).status == PASS
