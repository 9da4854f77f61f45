"""Pruning agrees with a slow, obvious reference, and its schedules with their formulas."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from methods.parts.packing.pruning import cubic_sparsity, cut_steps, required_ratio, smallest, smallest_share

# Few different values, so that ties are frequent.
VALUES = st.sampled_from([-2.0, -1.0, -0.5, -0.0, 0.0, 0.25, 0.5, 1.0, 3.0])


@st.composite
def weights_and_candidates(draw: st.DrawFn) -> tuple[list[float], list[bool], int]:
    weights = draw(st.lists(VALUES, min_size=1, max_size=30))
    among = draw(st.lists(st.booleans(), min_size=len(weights), max_size=len(weights)))
    return weights, among, draw(st.integers(0, sum(among)))


@given(weights_and_candidates())
def test_the_smallest_weights_among_the_candidates_go_ties_included(case: tuple[list[float], list[bool], int]) -> None:
    weights, among, count = case
    magnitudes = sorted(abs(w) for w, candidate in zip(weights, among, strict=True) if candidate)
    cut = magnitudes[count - 1] if count else -1.0
    expected = [candidate and abs(w) <= cut for w, candidate in zip(weights, among, strict=True)]
    assert smallest(torch.tensor(weights), torch.tensor(among), count).tolist() == expected


@given(weights_and_candidates(), st.floats(0, 1))
def test_a_share_is_rounded_to_a_number_of_weights(case: tuple[list[float], list[bool], int], share: float) -> None:
    weights, among = torch.tensor(case[0]), torch.tensor(case[1])
    count = round(share * sum(case[1]))
    assert torch.equal(smallest_share(weights, among, share), smallest(weights, among, count))


def test_more_than_there_are_cannot_be_cut() -> None:
    with pytest.raises(ValueError, match="cannot cut 3 of 2"):
        smallest(torch.ones(4), torch.tensor([True, True, False, False]), 3)


def test_a_layer_of_more_than_2_to_the_24_weights_can_be_pruned() -> None:
    weights = torch.arange(2**24 + 2, dtype=torch.float32)
    cut = smallest(weights, torch.ones_like(weights, dtype=torch.bool), 5)
    assert cut.nonzero().flatten().tolist() == [0, 1, 2, 3, 4]


@given(st.floats(0, 1), st.floats(0, 0.99), st.floats(0, 0.99))
def test_sparsity_rises_by_the_cubic_formula(progress: float, start: float, end: float) -> None:
    expected = end * (1 - (1 - progress) ** 3) + start * (1 - progress) ** 3
    assert cubic_sparsity(progress, start, end) == pytest.approx(expected, abs=1e-12)
    assert cubic_sparsity(0, start, end) == pytest.approx(start)
    assert cubic_sparsity(1, start, end) == end


@given(st.integers(1, 500), st.integers(1, 50))
def test_cuts_end_at_the_last_step_and_are_at_least_four_however_short_the_stage(steps: int, every: int) -> None:
    cuts = cut_steps(steps, every)
    assert cuts == sorted(set(cuts))
    assert cuts[0] >= 1
    assert cuts[-1] == steps
    assert len(cuts) >= min(4, steps)
    if steps // every >= 4:
        assert set(cuts) == {*range(every, steps + 1, every), steps}


def test_what_must_be_handed_back_of_twenty_tasks() -> None:
    """CPG's table: .9 up to task 14, .8 for 15 to 17, .7 for 18, .5 for 19, nothing for the last."""
    found = [round(required_ratio(20 - task), 6) for task in range(1, 21)]
    assert found == [0.9] * 14 + [0.8] * 3 + [0.7, 0.5, 0.0]
