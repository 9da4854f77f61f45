"""Checks of learning: things that were reached for fail a row, and so do test images that are known too well."""

import json

import numpy as np
import pytest
from scipy import stats

from reports.checks import learning
from reports.checks.check import FAIL, NOT_RUN, PASS, WARN
from reports.numbers.statistics.comparisons import better_in_strata, larger_in_strata
from tests.reports.sweep_cases import evidence_of
from tests.reports.synthetic_facts import asked, watched


def verdict(tmp_path, check, facts, **fields):
    return check(evidence_of(tmp_path, facts=facts, **fields))


@pytest.mark.parametrize(
    ("reached", "needs", "status"),
    [
        ({}, [], PASS),
        ({"files": ["/home/me/copy.npz"]}, [], FAIL),
        ({"files": ["/home/me/weights.pt"]}, ["extra_data"], WARN),
        ({"data files": ["/data/test.bin"]}, ["extra_data"], FAIL),
        ({"loaders": ["Digits"]}, [], FAIL),
        ({"loaders": ["Digits"]}, ["extra_data"], FAIL),
        ({"connections": ["socket.connect ('example.org', 443)"]}, [], FAIL),
        ({"processes": ["os.fork"]}, [], WARN),
    ],
)
def test_a_row_fails_for_data_that_its_method_was_not_given(tmp_path, reached, needs, status):
    found = verdict(tmp_path, learning.learned_without_test, watched(reached), protocol={"needs": needs})
    assert found.status == status
    for names in reached.values():
        assert names[0] in found.reason


def test_a_row_that_nobody_watched_neither_passes_nor_fails(tmp_path):
    assert verdict(tmp_path / "a", learning.learned_without_test, []).status == NOT_RUN
    here = verdict(tmp_path / "b", learning.learned_without_test, watched(apart=0.0))
    assert here.status == NOT_RUN
    assert "--learn-here" in here.reason
    assert verdict(tmp_path / "c", learning.learned_without_test, watched()[:2]).status == NOT_RUN


@pytest.mark.parametrize(
    ("facts", "status"),
    [
        (asked(39, 38), PASS),
        (asked(40, 40), PASS),
        (asked(39, 20), FAIL),
        (asked(20, 38), FAIL),
        (asked(39, 38, ((15, 38), (1, 38))), FAIL),
        (asked(39, 38, ((1, 38), (15, 38))), PASS),
        ([], NOT_RUN),
    ],
)
def test_test_images_that_are_known_better_than_validation_images_fail_a_row(tmp_path, facts, status):
    found = verdict(tmp_path, learning.test_like_validation, facts, quality=3.0, forgets=0.0)
    assert found.status == status
    if status == FAIL:
        assert "on test images" in found.reason


def test_an_unreadable_fact_is_no_evidence(tmp_path):
    broken = [{"task": 0, "phase": "unseen", "name": "validation", "value": 0.0, "text": "{"}]
    assert verdict(tmp_path, learning.test_like_validation, broken).status == NOT_RUN


def test_in_one_stratum_the_test_is_fishers(tmp_path):
    expected = stats.fisher_exact([[37, 3], [28, 12]], alternative="greater").pvalue
    assert better_in_strata([((37, 40), (28, 40))]) == pytest.approx(expected)


def test_strata_that_differ_in_size_and_difficulty_are_no_difference():
    easy, hard = ((95, 100), (9, 10)), ((5, 10), (50, 100))
    assert better_in_strata([easy, hard]) > 0.2
    pooled = better_in_strata([((100, 110), (59, 110))])
    assert pooled < 1e-6, "as it would be if they were thrown together"


def test_margins_tell_where_counts_do_not(tmp_path):
    """As many are right, and the test images are right by more."""
    facts = asked(40, 40)
    for fact in facts:
        if fact["name"] == "validation":
            fact["text"] = json.dumps({**json.loads(fact["text"]), "margins": [0.1 + 0.001 * i for i in range(40)]})
    found = verdict(tmp_path, learning.test_like_validation, facts, quality=3.0, forgets=0.0)
    assert found.status == FAIL
    assert "median margin under attack" in found.reason


def test_ranks_in_one_stratum_are_those_of_the_rank_sum_test():
    first, second = np.arange(20) + 0.5, np.arange(30) * 0.7
    expected = stats.mannwhitneyu(
        first, second, alternative="greater", use_continuity=False, method="asymptotic"
    ).pvalue
    assert larger_in_strata([(first, second)]) == pytest.approx(expected)


def test_margins_that_differ_by_task_are_no_difference():
    draws = np.random.default_rng(0)
    easy, hard = (draws.normal(5, 1, 100), draws.normal(5, 1, 10)), (draws.normal(0, 1, 10), draws.normal(0, 1, 100))
    assert larger_in_strata([easy, hard]) > 0.05
    assert larger_in_strata([]) == 1


def test_a_control_says_which_images_are_easy():
    """The same images are easy for both networks; the first is right by a little more on test images."""
    draws = np.random.default_rng(0)
    easy = [draws.normal(0, 5, 100), draws.normal(0, 5, 50)]
    mine, usual = (easy[0] + 0.8, easy[1]), (easy[0] + draws.normal(0, 0.5, 100), easy[1] + draws.normal(0, 0.5, 50))
    assert larger_in_strata([mine]) > 0.05
    assert larger_in_strata([learning._beyond(mine, usual)]) < 1e-3
    assert larger_in_strata([learning._beyond((easy[0], easy[1]), usual)]) > 0.01
