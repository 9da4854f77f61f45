"""A goal, and how much less is still as good."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from methods.parts.goals import Goal

BITS = st.lists(st.booleans(), min_size=2, max_size=60)


@given(BITS, st.data())
def test_the_tolerance_is_one_standard_error_of_the_paired_difference(goal: list[bool], data: st.DataObject) -> None:
    candidate = data.draw(st.lists(st.booleans(), min_size=len(goal), max_size=len(goal)))
    found = Goal(float(np.mean(goal)), torch.tensor(goal)).tolerance(torch.tensor(candidate))
    assert found == pytest.approx(stats.sem(np.array(candidate, float) - np.array(goal, float)))


def test_a_goal_given_as_a_number_has_the_standard_error_of_the_candidate() -> None:
    candidate = torch.tensor([True] * 30 + [False] * 70)
    assert Goal(0.5).tolerance(candidate) == pytest.approx(stats.sem(candidate.double().numpy()))


def test_a_fixed_tolerance_is_taken_as_it_is() -> None:
    candidate = torch.tensor([True] * 7 + [False] * 3)
    assert Goal(0.75, fixed=0.05).is_met(candidate)
    assert not Goal(0.75, fixed=0.04).is_met(candidate)


def test_the_same_outcomes_meet_their_own_goal() -> None:
    outcomes = torch.tensor([True, False, True])
    assert Goal(2 / 3, outcomes).is_met(outcomes)
