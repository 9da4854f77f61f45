"""Every check passes an honest run and flags the defect it is meant for."""

import sys

import numpy as np
import pytest

from reports.boards.building import build_boards
from reports.checks.verdicts import CHECKS, FAIL, NOT_RUN, PASS, WARN, Verdict
from results import load
from tests.reports.checks.afresh_cases import afresh_facts
from tests.reports.synthetic_capacity import proof_facts
from tests.reports.synthetic_facts import asked, watched
from tests.reports.synthetic_runs import (
    FakeRun,
    clean,
    distilled,
    fgsm,
    gradient_facts,
    inside,
    judged_board_of,
    noise,
    other_sizes,
    pgd,
    probe_facts,
    rescaled,
    square,
    transfer,
    unbounded,
    write_run,
    zero,
)  # fmt: skip


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_the_docstring_of_its_module_names_a_check(check):
    assert f"`{check.name}`" in sys.modules[check.judge.__module__].__doc__


def verdicts(tmp_path, **fields):
    board = judged_board_of(tmp_path, FakeRun(**fields))
    row = next(row for row in board.rows if row.label == "naive")
    return {verdict.check: verdict for verdict in row.seeds[0].verdicts}


def sweep():
    return [
        noise(),
        fgsm(),
        pgd(20),
        pgd(40),
        pgd(40, restarts=5),
        pgd(10, "1/10", power=0.6),
        *other_sizes(),
        square(),
    ]


def selection(logged, measured=0.8):
    return [
        {"task": 0, "phase": "harness", "name": "validation_clean", "value": measured},
        {"task": 0, "phase": "harness", "name": "selected_clean", "value": logged},
    ]


def test_an_honest_run_passes_every_check(tmp_path):
    write_run(tmp_path, FakeRun(method="single_task_standard", label="plain", quality=0.3))
    facts = [*selection(0.8), *proof_facts(3), *probe_facts(3), *gradient_facts(3)]
    facts += [*afresh_facts(3, [clean(), pgd(10), *sweep()]), *watched(), *asked(39, 38)]
    fields = {
        "transfers": [transfer("plain")],
        "checks": [zero(), unbounded(), rescaled("1/100", 0.9), rescaled("100", 0.9), inside(), distilled()],
    }
    found = verdicts(tmp_path, quality=3.0, final=sweep(), facts=facts, claims=["unforgetting"], **fields)
    # Its attacks walk in float32, so that there is nothing to compare them with.
    expected = dict.fromkeys(found, PASS) | {"float32_below_fast": NOT_RUN}
    assert {name: verdict.status for name, verdict in found.items()} == expected
    assert len(found) == len(CHECKS)
    assert all(v.measures and v.threshold and v.reason for v in found.values())
    assert all(v.evidence for v in found.values() if v.status == PASS)


def test_what_was_not_recorded_is_not_run_and_never_passes(tmp_path):
    def forget(record):
        record.update(largest_change=None, unchanged=None, trace=None)

    found = verdicts(tmp_path, matrix=[clean()], final=[fgsm()], edit_evaluation=forget)
    for check in ("within_eps", "unchanged", "loss_rises", "gradients_carry_signal", "validation_reproduced"):
        assert found[check].status == NOT_RUN, check
    assert found["converged"].status == found["pgd_below_baselines"].status == NOT_RUN


def test_a_change_beyond_eps_fails(tmp_path):
    def beyond(record):
        if record["kind"] == "pgd":
            record["largest_change"] += 3e-6

    assert verdicts(tmp_path, edit_evaluation=beyond)["within_eps"].status == FAIL


def test_a_changed_classifier_fails(tmp_path):
    def changed(record):
        record["unchanged"] = (record["after_task"], record["task"]) != (1, 0)

    assert verdicts(tmp_path, edit_evaluation=changed)["unchanged"].status == FAIL


def lift(amount, *names):
    """Margins of these attacks lifted, as if they were weaker."""
    return lambda name, i, j, margin: margin + amount if any(part in name for part in names) else margin


def test_robust_above_clean_fails(tmp_path):
    found = verdicts(tmp_path, quality=0.8, edit_margin=lift(3, "pgd"))
    assert found["robust_below_clean"].status == FAIL
    assert found["pgd_below_baselines"].status == FAIL


def test_pgd_weaker_than_fgsm_fails(tmp_path):
    assert verdicts(tmp_path, edit_margin=lift(0.8, "pgd"))["pgd_below_baselines"].status == FAIL


def test_one_weak_step_size_is_no_failure(tmp_path):
    weak = pgd(10, power=0.1)
    weak = type(weak)(weak.name + " b", weak.kind, 0.1, weak.eps, weak.steps, "1/5")
    assert verdicts(tmp_path, final=[noise(), fgsm(), weak])["pgd_below_baselines"].status == PASS


def test_accuracy_that_rises_with_steps_fails(tmp_path):
    assert verdicts(tmp_path, edit_margin=lift(1, "pgd-40"))["not_rising_with_steps"].status == FAIL


def test_accuracy_that_rises_with_eps_fails(tmp_path):
    found = verdicts(tmp_path, final=[noise(), fgsm(), pgd(10, "2/5", power=0.1)])
    assert found["not_rising_with_eps"].status == FAIL


def test_a_little_noise_is_not_a_failure(tmp_path):
    def one_sample(name, i, j, margin):
        if name.startswith("pgd-40") and j == 0:
            margin = margin.copy()
            margin[margin.argmin()] = 1
        return margin

    assert verdicts(tmp_path, edit_margin=one_sample)["not_rising_with_steps"].status == PASS


def test_final_far_from_any_warns(tmp_path):
    def lost(name, i, j, margin):
        return margin + 1 if name.startswith("pgd") and not name.endswith("any") else margin

    assert verdicts(tmp_path, edit_margin=lost)["final_close_to_any"].status == WARN


def test_an_attack_that_still_gains_warns(tmp_path):
    assert verdicts(tmp_path, edit_margin=lift(-1, "pgd-40"))["converged"].status == WARN


@pytest.mark.parametrize(("zeros", "status"), [(0.99, FAIL), (0.25, FAIL), (0.1, WARN), (0.01, PASS)])
def test_zero_gradients(tmp_path, zeros, status):
    trace = {"loss": [0.5, 0.6], "zero_gradients": [zeros] * 10, "non_finite": [0.0] * 10}
    assert verdicts(tmp_path, trace=trace)["gradients_carry_signal"].status == status


def collapsed(name, i, j, margin):
    """Half of the samples right, whatever the attack: a constant answer, from task 1 on."""
    return np.where(np.arange(len(margin)) % 2 == 0, 1.0, -1.0) if i >= 1 else margin


def test_a_network_that_collapsed_warns(tmp_path):
    verdict = verdicts(tmp_path, edit_margin=collapsed)["learned_something"]
    assert verdict.status == WARN
    assert "2 of 3 tasks" in verdict.reason


def test_what_was_learned_and_forgotten_was_learned(tmp_path):
    assert verdicts(tmp_path, forgets=2.0)["learned_something"].status == PASS


def test_zero_gradients_at_chance_hide_nothing(tmp_path):
    trace = {"loss": [0.5, 0.5], "zero_gradients": [1.0], "non_finite": [0.0]}
    found = verdicts(tmp_path, quality=-1.0, trace=trace)
    assert found["gradients_carry_signal"].status == PASS


def test_gradients_that_are_not_finite_warn(tmp_path):
    trace = {"loss": [0.5, 0.6], "zero_gradients": [0.0], "non_finite": [0.01]}
    assert verdicts(tmp_path, trace=trace)["gradients_carry_signal"].status == WARN


@pytest.mark.parametrize(("logged", "status"), [(0.80, PASS), (0.84, PASS), (0.85, FAIL), (0.70, FAIL)])
def test_logged_validation_must_be_reproduced_within_one_sample(tmp_path, logged, status):
    # 25 validation samples: one is worth 0.04.
    assert verdicts(tmp_path, facts=selection(logged))["validation_reproduced"].status == status


def test_validation_over_all_tasks_together_is_held_to_one_of_their_samples(tmp_path):
    facts = [{**fact, "task": -1} for fact in selection(0.80, 0.82)]
    assert verdicts(tmp_path, facts=facts)["validation_reproduced"].status == FAIL


OUT_OF_MEMORY = {"stage": "train", "task": 1, "kind": "RuntimeError", "message": "out of memory"}


def test_a_failure_that_explains_what_is_missing_fails(tmp_path):
    store = write_run(tmp_path, FakeRun(failure=OUT_OF_MEMORY), by_cell=True)
    next((store.directory / "predictions").glob("pgd10-*-1-0.parquet")).unlink()
    (board,) = build_boards(load(tmp_path, None))
    found = {verdict.check: verdict for verdict in board.rows[0].seeds[0].verdicts}
    assert found["failures"].status == FAIL
    assert "out of memory" in found["failures"].reason


@pytest.mark.parametrize("failure", [OUT_OF_MEMORY, {**OUT_OF_MEMORY, "attack": "dlr linf 8/255", "after_task": 1}])
def test_a_failure_of_what_is_there_by_now_or_not_demanded_says_nothing(tmp_path, failure):
    assert verdicts(tmp_path, failure=failure)["failures"].status == PASS


def test_a_missing_cell_is_found(tmp_path):
    store = write_run(tmp_path, FakeRun(), by_cell=True)
    next((store.directory / "predictions").glob("pgd10-*-1-0.parquet")).unlink()
    (board,) = build_boards(load(tmp_path, None))
    verdict = next(v for v in board.rows[0].seeds[0].verdicts if v.check == "complete")
    assert verdict.status == FAIL
    assert "task 0 after task 1" in verdict.reason


def unforgetting(tmp_path, claims=("unforgetting",), **fields):
    return verdicts(tmp_path, claims=claims, **fields)["unforgetting"]


def test_a_proof_that_nothing_was_forgotten_passes_and_says_of_what(tmp_path):
    verdict = unforgetting(tmp_path, facts=proof_facts(3, attacks=2))
    assert verdict.status == PASS
    assert "3 of 3 classifiers again, bit for bit, and 2 attacks gave the same predictions" in verdict.reason


@pytest.mark.parametrize(
    ("different", "reason"),
    [
        ([(1, "classifier")], "classifier of task 1"),
        ([(2, "logits")], "logits of task 2"),
        ([(0, "predictions")], "predictions of task 0"),
        ([(1, "classifier"), (1, "logits")], "classifier of task 1; logits of task 1"),
        ([(k, "logits") for k in range(5)], "logits of tasks 0, 1, 2 and 2 more"),
    ],
)
def test_what_is_not_as_it_was_when_it_was_learned_fails(tmp_path, different, reason):
    verdict = unforgetting(tmp_path, tasks=5, facts=proof_facts(5, different=different))
    assert verdict.status == FAIL
    assert verdict.reason == f"not what was learned: {reason}"


def test_a_claim_without_proof_fails_and_says_what_to_do(tmp_path):
    verdict = unforgetting(tmp_path)
    assert verdict.status == FAIL
    assert "no proof" in verdict.reason
    assert "run it again with --force" in verdict.reason


def test_a_proof_of_some_tasks_is_none_of_all(tmp_path):
    verdict = unforgetting(tmp_path, facts=proof_facts(2))
    assert verdict.status == FAIL
    assert "2 of 3 tasks" in verdict.reason


def test_logits_alone_do_not_prove_the_classifier(tmp_path):
    facts = [fact for fact in proof_facts(3) if (fact["task"], fact["name"]) != (1, "same_classifier")]
    assert unforgetting(tmp_path, facts=facts).status == FAIL


def test_where_another_processor_computed_the_logits_equal_bits_are_the_proof(tmp_path):
    facts = [fact for fact in proof_facts(3) if fact["name"] == "same_classifier"]
    assert unforgetting(tmp_path, facts=facts).status == PASS


def test_who_claims_nothing_has_nothing_to_prove(tmp_path):
    verdict = unforgetting(tmp_path, claims=[])
    assert (verdict.status, verdict.reason) == (NOT_RUN, "the method does not claim not to forget")


def test_an_older_record_that_does_not_say_what_is_claimed_is_not_judged(tmp_path):
    verdict = unforgetting(tmp_path, claims=None)
    assert verdict.status == NOT_RUN
    assert "older record" in verdict.reason


def test_a_run_on_its_way_is_not_blamed_for_a_proof_that_comes_last(tmp_path):
    verdict = unforgetting(tmp_path, learned=1)
    assert verdict.status == NOT_RUN
    assert "not complete" in verdict.reason


def test_a_method_that_forgot_what_it_claims_to_keep_is_not_ranked(tmp_path):
    board = judged_board_of(
        tmp_path, FakeRun(claims=["unforgetting"], facts=proof_facts(3, different=[(0, "classifier")]))
    )
    assert not board.ranked
    assert board.below[0].reason == "unforgetting: not what was learned: classifier of task 0"


def test_checks_are_pluggable(tmp_path):
    write_run(tmp_path, FakeRun())

    def never(evidence):
        return Verdict("never", "nothing", "none", "", FAIL, "by principle")

    (board,) = build_boards(load(tmp_path, None), [never])
    assert board.rows[0].verdict == FAIL
    assert not board.ranked
