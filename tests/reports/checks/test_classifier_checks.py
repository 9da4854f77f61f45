"""Checks that ask the classifiers themselves: probes, extra attacks on a subset, the contract, and the undefended control."""

import json
from dataclasses import replace

import numpy as np
import pytest

from reports.boards.building import build_boards, judged
from reports.checks import classifier as classifier_checks
from reports.checks import extra_attacks as extra_attack_checks
from reports.checks import records as record_checks
from reports.checks.check import FAIL, NOT_RUN, PASS, WARN
from results import load
from tests.reports.synthetic_runs import (
    FakeRun,
    clean,
    judged_board_of,
    noise,
    pgd,
    probe_facts,
    rescaled,
    unbounded,
    write_run,
    zero,
)  # fmt: skip


def evidence_of(tmp_path, **fields):
    """With the outcomes of the extra attacks, which boards leave out."""
    write_run(tmp_path, FakeRun(**fields))
    (seed,) = judged(load(tmp_path, None), "digits")
    return seed.evidence


def verdict(tmp_path, check, **fields):
    return check(evidence_of(tmp_path, **fields))


def board_verdicts(tmp_path, *fakes):
    """By label the verdicts by check, of runs that stand on one board."""
    for fake in fakes:
        write_run(tmp_path, fake)
    (board,) = build_boards(load(tmp_path, None))
    return {row.label: {v.check: v for v in row.seeds[0].verdicts} for row in board.rows}, board


# -- probes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("difference", "status"), [(0.0, PASS), (9e-7, PASS), (2e-6, FAIL), (0.3, FAIL), (None, FAIL)])
def test_a_classifier_that_answers_differently_when_asked_twice_fails(tmp_path, difference, status):
    found = verdict(tmp_path, classifier_checks.repeatable, facts=probe_facts(3, repeat=difference, flips=[4, 7]))
    assert found.status == status
    if status == FAIL:
        assert "task 2" in found.reason
        assert found.samples == ((2, 4), (2, 7))


def test_a_randomised_defense_is_ranked_where_every_attack_averages_its_gradient(tmp_path):
    facts = probe_facts(3, repeat=0.1)
    averaged = [replace(pgd(k), name=f"pgd-{k} eot", rest={"eot": 8}) for k in (10, 40)]
    found = verdict(
        tmp_path / "a", classifier_checks.repeatable, facts=facts, matrix=[clean(), averaged[0]], final=averaged[1:]
    )
    assert found.status == WARN
    one_without = verdict(
        tmp_path / "b", classifier_checks.repeatable, facts=facts, matrix=[clean(), averaged[0]], final=[pgd(40)]
    )
    assert one_without.status == FAIL


@pytest.mark.parametrize(
    ("difference", "flips", "status"),
    [(3e-6, [], PASS), (2e-4, [], WARN), (0.02, [], FAIL), (3e-6, [5], FAIL), (None, [], FAIL)],
)
def test_an_answer_that_depends_on_the_rest_of_the_batch_fails(tmp_path, difference, flips, status):
    facts = probe_facts(3, batch=difference, flips=flips)
    assert verdict(tmp_path, classifier_checks.batch_independent, facts=facts).status == status


@pytest.mark.parametrize("check", [classifier_checks.repeatable, classifier_checks.batch_independent])
def test_a_classifier_that_raises_when_asked_fails_and_one_that_was_never_asked_does_not(tmp_path, check):
    assert verdict(tmp_path / "a", check).status == NOT_RUN
    crash = {"stage": "probes on task 1", "check": "probes", "task": 1, "message": "RuntimeError: batches of 8 alone"}
    found = verdict(tmp_path / "b", check, failure=crash)
    assert (found.status, "batches of 8 alone" in found.reason) == (FAIL, True)


# -- extra attacks ----------------------------------------------------------------------------------------------------


def test_attacks_that_no_attacker_could_use_change_no_number_and_are_no_column(tmp_path):
    plain = build_boards(load(write_run(tmp_path / "a", FakeRun()).directory.parent, None))[0]
    fake = FakeRun(checks=[zero(), unbounded()])
    checked = build_boards(load(write_run(tmp_path / "b", fake).directory.parent, None))[0]
    np.testing.assert_equal(checked.rows[0].measures.values, plain.rows[0].measures.values)
    assert list(checked.attacks) == list(plain.attacks)


def test_an_attack_that_may_change_nothing_must_change_nothing(tmp_path):
    def moves(name, i, j, margin):
        return (
            np.where(np.arange(len(margin)) == 3, -margin, margin) if name.startswith("pgd-1 ") and j == 1 else margin
        )

    assert verdict(tmp_path / "a", extra_attack_checks.eps_zero, checks=[zero()]).status == PASS
    found = verdict(tmp_path / "b", extra_attack_checks.eps_zero, checks=[zero()], edit_margin=moves)
    assert (found.status, found.samples) == (FAIL, ((1, 3),))


def test_ties_between_classes_are_no_change(tmp_path):
    def tie(name, i, j, margin):
        return np.full(len(margin), -1e-6 if name.startswith("pgd-1 ") else 1e-6)

    assert verdict(tmp_path, extra_attack_checks.eps_zero, checks=[zero()], edit_margin=tie).status == PASS


@pytest.mark.parametrize(("power", "status"), [(9.0, PASS), (0.5, FAIL)])
def test_an_unbounded_attack_must_win(tmp_path, power, status):
    found = verdict(tmp_path, extra_attack_checks.unbounded, checks=[unbounded(power)], quality=2.0)
    assert found.status == status
    assert bool(found.samples) == (status == FAIL)


def test_one_task_that_stands_under_the_unbounded_attack_is_enough(tmp_path):
    def one_stands(name, i, j, margin):
        return np.where(np.full(len(margin), j == 2), 1.0, -1.0) if "255/255" in name else margin

    found = verdict(tmp_path, extra_attack_checks.unbounded, checks=[unbounded()], edit_margin=one_stands)
    assert (found.status, "task 2: 100.0 %" in found.evidence) == (FAIL, True)


def test_a_constant_answer_is_at_chance_and_no_masked_gradient(tmp_path):
    def half(name, i, j, margin):
        return np.where(np.arange(len(margin)) % 2 == 0, 1.0, -1.0)

    assert verdict(tmp_path, extra_attack_checks.unbounded, checks=[unbounded()], edit_margin=half).status == PASS


@pytest.mark.parametrize(("power", "status"), [(1.1, PASS), (2.0, FAIL)])
def test_no_scale_of_the_logits_may_make_the_attack_clearly_stronger(tmp_path, power, status):
    checks = [rescaled("1/100", 0.4), rescaled("100", power)]
    found = verdict(tmp_path, extra_attack_checks.rescaled_logits, checks=checks)
    assert found.status == status
    if status == FAIL:
        assert found.evidence.startswith("x100: ")
        assert found.samples


def test_without_the_extra_attacks_nothing_is_said_for_or_against(tmp_path):
    evidence = evidence_of(tmp_path)
    for check in (extra_attack_checks.eps_zero, extra_attack_checks.unbounded, extra_attack_checks.rescaled_logits):
        assert check(evidence).status == NOT_RUN


# -- the contract -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["eval_mode", "head_sliced", "outputs_are_logits"])
def test_a_broken_contract_takes_the_row_off_under_its_own_name(tmp_path, name):
    cell = {"after_task": 2, "task": 1, "attack": pgd(40).name}
    failure = {"stage": "pgd on task 1", "check": name, "message": "the classifier is not what it must be", **cell}
    board = judged_board_of(tmp_path, FakeRun(final=[noise(), pgd(40)], learned=2, failure=failure))
    (row,) = board.below
    verdicts = {v.check: v.status for v in row.seeds[0].verdicts}
    assert name in row.reason
    assert {check: verdicts[check] for check in ("eval_mode", "head_sliced", "outputs_are_logits")} == {
        check: FAIL if check == name else PASS for check in ("eval_mode", "head_sliced", "outputs_are_logits")
    }


# -- other runs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "control", "status"),
    [
        (3.0, 0.3, PASS),  # the control falls, the row stands
        (1.3, 1.0, WARN),  # the control falls below chance, and the row stands little above it
        (4.0, 1.7, WARN),  # the control stays above chance, and the row stands far above it
        (2.4, 2.2, FAIL),  # the attacks do not tell one from the other
        (0.2, 2.2, PASS),  # the row claims nothing
    ],
)
def test_an_undefended_network_must_fall_under_the_same_attacks(tmp_path, row, control, status):
    plain = FakeRun(method="single_task_standard", label="plain", quality=control, forgets=0.0)
    found, board = board_verdicts(tmp_path, FakeRun(method="mine", quality=row, forgets=0.0), plain)
    assert found["mine"]["control_broken"].status == status, found["mine"]["control_broken"]
    assert found["plain"]["control_broken"].status == NOT_RUN
    assert ("mine" in [row.label for row in board.ranked]) == (status != FAIL)


def test_a_control_of_another_seed_says_nothing(tmp_path):
    plain = FakeRun(method="single_task_standard", quality=9, seed=1)
    found, _ = board_verdicts(tmp_path, FakeRun(method="mine"), plain)
    assert found["mine"]["control_broken"].status == NOT_RUN


# -- the ball ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("share", "status"), [(1.0, PASS), (0.999, PASS), (0.99, FAIL), (1 / 255, FAIL)])
def test_an_attack_that_leaves_its_ball_unused_fails(tmp_path, share, status):
    def smaller(record):
        if record["kind"] == "pgd":
            record["largest_change"] *= share

    assert verdict(tmp_path, record_checks.ball_used, edit_evaluation=smaller).status == status


def test_an_attack_of_few_small_steps_from_the_image_is_held_to_what_it_can_reach(tmp_path):
    short = replace(pgd(2, size="1/8"), rest={"random_start": False})

    def reached(record):
        if record["attack"] == short.name:
            record["largest_change"] = 0.25 * record["largest_change"]

    fields = {"final": [short], "edit_evaluation": reached}
    assert verdict(tmp_path, record_checks.ball_used, **fields).status == PASS


def test_verdicts_name_few_samples_and_say_what_they_cost(tmp_path):
    evidence = evidence_of(tmp_path, checks=[unbounded(0.0)], quality=3.0)
    found = extra_attack_checks.unbounded(evidence)
    assert found.cost == "final"
    assert len(found.samples) == 8
    assert json.loads(json.dumps(found.samples)) == [list(sample) for sample in found.samples]
