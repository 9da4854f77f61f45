"""Images that were submitted for one task count there; elsewhere the unchanged image stands."""

from __future__ import annotations

from fractions import Fraction

import pandas as pd

from reports.numbers.attack_facts import AttackFacts
from reports.numbers.metrics import CLEAN, WORST, add_worst
from reports.numbers.outcomes import outcomes_of
from reports.numbers.submissions import submissions, with_found, with_unchanged_images

LINF = ("linf", Fraction(1, 5))


def rows(attack: str, task: int, right: list[int]) -> list[tuple[int, int, int, str, int, int, float]]:
    """After the last of two tasks, by sample: 1 where the prediction is right."""
    return [(1, task, i, attack, 0, 1 - good, 1.0 if good else -1.0) for i, good in enumerate(right)]


def test_a_submission_counts_where_it_is_and_changes_nothing_elsewhere():
    columns = ["after_task", "task", "sample", "attack", "label", "predicted", "margin"]
    clean = rows(CLEAN, 0, [1, 1, 0, 1]) + rows(CLEAN, 1, [1, 0])
    frame = pd.DataFrame(clean + rows("submitted a", 0, [1, 0]), columns=columns)
    outcomes = with_unchanged_images(outcomes_of(frame, 2), ["submitted a"])
    assert outcomes.vector("submitted a", 1, 0).tolist() == [1, 0, 0, 1]
    assert outcomes.vector("submitted a", 1, 1).tolist() == [1, 0]
    worst = add_worst(outcomes, [CLEAN, "submitted a"])
    assert worst.vector(WORST, 1, 0).tolist() == [1, 0, 0, 1]
    assert worst.vector(WORST, 1, 1).tolist() == [1, 0]
    assert worst.final[WORST][0].margin.tolist() == [1.0, -1.0, -1.0, 1.0]


def test_submissions_count_only_where_something_is_attacked_anyway():
    def attack(kind: str, eps: Fraction) -> AttackFacts:
        return AttackFacts(f"{kind} {eps}", kind, "linf", eps, 0, None, 0, "")

    known = {
        a.name: a for a in (attack("submitted", LINF[1]), attack("submitted", Fraction(1, 9)), attack("pgd", LINF[1]))
    }
    assert list(submissions(known, {LINF})) == ["submitted 1/5"]


def test_what_an_extra_attack_broke_is_broken_in_worst_and_samples_that_it_does_not_cover_stay():
    columns = ["after_task", "task", "sample", "attack", "label", "predicted", "margin"]
    clean = rows(CLEAN, 0, [1, 1, 0, 1]) + rows(CLEAN, 1, [1, 0])
    frame = pd.DataFrame(clean + rows("inside", 0, [0, 1, 1]) + rows("distilled", 0, [1, 0]), columns=columns)
    outcomes = add_worst(outcomes_of(frame, 2), [CLEAN])
    found = with_found(outcomes, ["inside", "distilled", "never run"])
    assert found.vector(WORST, 1, 0).tolist() == [0, 0, 0, 1]
    assert found.vector(WORST, 1, 1).tolist() == [1, 0]
    assert found.vector("inside", 1, 0).tolist() == [0, 1, 1, -1]
    assert found.final[WORST][0].margin.tolist() == [-1.0, -1.0, -1.0, 1.0]


def test_without_a_worst_case_nothing_is_added_to_it():
    columns = ["after_task", "task", "sample", "attack", "label", "predicted", "margin"]
    outcomes = outcomes_of(pd.DataFrame(rows(CLEAN, 0, [1]) + rows("inside", 0, [0]), columns=columns), 2)
    assert WORST not in with_found(outcomes, ["inside"]).correct
