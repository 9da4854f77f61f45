"""Classifiers that were made anew and have seen nothing must give the recorded answers, and read nothing but the state."""

from dataclasses import replace

import pytest

from reports.checks.afresh import judged_afresh
from reports.checks.check import FAIL, NOT_RECORDED_YET, NOT_RUN, PASS, WARN
from reports.checks.records import unforgetting
from reports.numbers.proofs import proofs
from tests.reports.checks.afresh_cases import afresh_facts, answers_of, fact, reached
from tests.reports.sweep_cases import evidence_of
from tests.reports.synthetic_capacity import proof_facts
from tests.reports.synthetic_runs import clean, fgsm, noise, pgd, probe_facts

EVERY = [clean(), pgd(10), noise(), fgsm()]
"""The attacks of the made-up run that are judged."""


def verdict(tmp_path, facts, **fields):
    fields = {"matrix": [clean(), pgd(10)], "final": [noise(), fgsm()]} | fields
    return judged_afresh(evidence_of(tmp_path, facts=facts, **fields))


def test_recorded_answers_that_are_given_again_pass(tmp_path):
    found = verdict(tmp_path, afresh_facts(3, EVERY))
    assert found.status == PASS
    assert "384 images" in found.reason


@pytest.mark.parametrize(
    ("said", "status", "words"),
    [
        ({"changed": [4], "lost": [4], "answers_changed": 1, "answers_lost": 1}, FAIL, "1 of which were counted right"),
        ({"changed": [4], "answers_changed": 1}, FAIL, "another answer to 1 of 384 images"),
        ({"order": [4]}, FAIL, "(task 2 sample 4)"),
        ({"moved": [4], "off": 0.5}, FAIL, "margins are off by 0.5"),
        ({"moved": [4], "off": 2e-3}, WARN, "margins are off by 0.002"),
        ({"off": float("inf"), "moved": [4]}, FAIL, "off by inf"),
    ],
)
def test_other_answers_than_the_recorded_fail_and_small_other_margins_warn(tmp_path, said, status, words):
    found = verdict(tmp_path, afresh_facts(3, EVERY, **said))
    assert found.status == status
    assert words in found.reason
    assert found.samples == ((2, 4),)


def test_a_randomised_defense_is_judged_as_it_is_by_repeatable(tmp_path):
    said = {"changed": [4], "answers_changed": 1}
    random = probe_facts(3, repeat=0.1)
    usual = verdict(tmp_path / "a", [*afresh_facts(3, EVERY, **said), *random])
    assert usual.status == FAIL
    averaged = [replace(pgd(10), rest={"eot": 5})]
    facts = [*afresh_facts(3, [clean(), *averaged], **said), *random]
    found = verdict(tmp_path / "b", facts, matrix=[clean(), *averaged], final=[])
    assert found.status == WARN
    assert "averaged" in found.reason


def test_a_reach_for_a_file_fails_whatever_was_answered(tmp_path):
    found = verdict(tmp_path, [*afresh_facts(3, EVERY), reached("/home/me/old.pt", "a connection (socket.connect)")])
    assert found.status == FAIL
    assert "/home/me/old.pt and 1 other thing" in found.reason


def test_a_state_that_makes_another_classifier_fails(tmp_path):
    facts = [*afresh_facts(3, EVERY), fact(1, "another_classifier", 1.0, "abc")]
    assert verdict(tmp_path, facts).status == FAIL


def test_a_crash_fails_and_older_records_are_not_judged(tmp_path):
    older = verdict(tmp_path / "a", [])
    assert (older.status, older.reason) == (NOT_RUN, NOT_RECORDED_YET)
    crash = {"stage": "classifiers made anew", "check": "afresh", "message": "ValueError: planted"}
    crashed = verdict(tmp_path / "b", [], failure=crash)
    assert crashed.status == FAIL
    assert "planted" in crashed.reason


def test_a_run_of_which_an_attack_handed_over_nothing_never_passes(tmp_path):
    facts = [*afresh_facts(3, EVERY[:3]), *(answers_of(fgsm(), task, 3) for task in range(2))]
    found = verdict(tmp_path / "a", facts)
    assert found.status == NOT_RUN
    assert f"{fgsm().name} on task 2" in found.reason
    # The evaluation that was handed over is another one: its classifier was learned again.
    other = [*facts, answers_of(fgsm(), 2, 3, covers=[[fgsm().name, "another"]])]
    assert verdict(tmp_path / "b", other).status == NOT_RUN
    # What was judged fails all the same.
    wrong = [*facts, answers_of(noise(), 2, 3, changed=[1], answers_changed=1)]
    assert verdict(tmp_path / "c", wrong).status == FAIL


def test_a_machine_without_confinement_is_said_to_be_one(tmp_path):
    found = verdict(tmp_path, [fact(-1, "not_judged", None, "Python's audit hooks are not heard here")])
    assert found.status == NOT_RUN
    assert "audit hooks" in found.reason


@pytest.mark.parametrize("text", ["no JSON", "[]", '{"attack": 1}', None])
def test_a_fact_that_is_unreadable_is_no_answer(tmp_path, text):
    facts = [*afresh_facts(3, EVERY[:3]), *(fact(task, "answers", 32, text) for task in range(3))]
    assert verdict(tmp_path, facts).status == NOT_RUN


def test_a_proof_for_which_the_method_reached_for_a_file_is_none(tmp_path):
    facts = [*proof_facts(3), reached("/home/me/old.pt", phase="unforgetting")]
    evidence = evidence_of(tmp_path, facts=facts, claims=["unforgetting"])
    found = unforgetting(evidence)
    assert found.status == FAIL
    assert "/home/me/old.pt" in found.reason
    assert {str(proof) for proof in proofs(evidence.facts).values()} == {"no: not from its state alone"}


def test_a_claim_that_a_machine_could_not_prove_is_warned_of(tmp_path):
    facts = [fact(-1, "unproved", None, "no audit hooks", "unforgetting")]
    found = unforgetting(evidence_of(tmp_path, facts=facts, claims=["unforgetting"]))
    assert found.status == WARN
    assert "no audit hooks" in found.reason
