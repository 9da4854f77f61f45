"""The owner map against a slow, obvious reference, weight by weight."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from methods.parts.packing.ownership import FREE, PackedWeights, TaskPart, owner_of

NAME = "layer.weight"


def packed(owners: list[int], seed: int, picks: list[bool] | None = None, task: int = 1) -> PackedWeights:
    """A layer of 2 x n weights with these owners (cut to an even number), free ones at zero, and task `task`'s picks."""
    count = len(owners) // 2 * 2
    owner = torch.tensor(owners[:count], dtype=torch.uint8).reshape(2, -1)
    weights = torch.randn(owner.shape, generator=torch.Generator().manual_seed(seed))
    weights[owner == FREE] = 0.0
    found = PackedWeights(1.0, {NAME: weights}, {NAME: owner})
    mask = None if picks is None else {NAME: torch.tensor(picks[:count]).reshape(owner.shape)}
    found.parts[task] = TaskPart(1.0, {}, mask)
    return found


OWNERS = st.lists(st.integers(0, 3), min_size=2, max_size=24)


@given(OWNERS, st.integers(0, 2), st.integers(0, 99))
def test_a_claim_takes_what_is_free_and_nothing_else(owners: list[int], task: int, seed: int) -> None:
    state = packed(owners, seed)
    before, weights = state.owners[NAME].flatten().tolist(), state.weights[NAME].clone()
    state.claim(task)
    assert state.owners[NAME].flatten().tolist() == [task + 1 if owner == 0 else owner for owner in before]
    assert torch.equal(state.weights[NAME], weights), "freed weights start from zero"


@given(OWNERS, st.integers(0, 99), st.data())
def test_a_sub_network_is_what_the_task_owns_and_what_it_picks_of_earlier_ones(
    owners: list[int], seed: int, data: st.DataObject
) -> None:
    picks = data.draw(st.none() | st.lists(st.booleans(), min_size=len(owners), max_size=len(owners)))
    state, task = packed(owners, seed, picks), 1
    expected = []
    for k, owner in enumerate(state.owners[NAME].flatten().tolist()):
        picked = picks is None or picks[k]
        used = owner == task + 1 or (0 < owner < task + 1 and picked)
        expected.append(state.weights[NAME].flatten()[k].item() if used else 0.0)
    assert state.effective(NAME, task, state.owners[NAME].shape).flatten().tolist() == expected


@given(OWNERS, st.integers(0, 99), st.data())
def test_what_a_task_gives_back_is_free_and_zero_and_what_others_own_stays(
    owners: list[int], seed: int, data: st.DataObject
) -> None:
    cut = data.draw(st.lists(st.booleans(), min_size=len(owners), max_size=len(owners)))
    state, task = packed(owners, seed), 1
    before, weights = state.owners[NAME].flatten().tolist(), state.weights[NAME].flatten().tolist()
    state.release(task, {NAME: torch.tensor(cut[: len(before)]).reshape(2, -1)})
    for k, (owner, weight) in enumerate(zip(before, weights, strict=True)):
        gone = owner == task + 1 and cut[k]
        assert state.owners[NAME].flatten()[k] == (FREE if gone else owner)
        assert state.weights[NAME].flatten()[k] == (0.0 if gone else weight)


def test_stored_weights_are_the_tasks_own_and_nobody_elses() -> None:
    state = packed([1, 2, 2, 0], seed=0)
    earlier = state.weights[NAME].clone()
    trained = torch.full((2, 2), 7.0)
    state.store(1, {NAME: trained}, {NAME: torch.tensor([[False, True], [False, False]])})
    assert state.weights[NAME].tolist() == [[earlier[0, 0].item(), 7.0], [0.0, 0.0]]
    assert state.owners[NAME].tolist() == [[1, 2], [0, 0]]


def test_growth_keeps_the_old_block_and_gives_what_is_new_to_the_task() -> None:
    state = packed([1, 0, 1, 1], seed=0)
    old = state.weights[NAME].clone()
    fresh: Tensor = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    state.widen({NAME: fresh}, 1.5, task=1)
    assert torch.equal(state.weights[NAME][:2, :2], old)
    assert state.owners[NAME][:2, :2].tolist() == [[1, 0], [1, 1]]
    new = torch.ones(3, 4, dtype=torch.bool)
    new[:2, :2] = False
    assert torch.equal(state.weights[NAME][new], fresh[new])
    assert bool((state.owners[NAME][new] == owner_of(1)).all())
    assert torch.equal(state.effective(NAME, 0, torch.Size([2, 2])), torch.where(old != 0, old, 0.0)), (
        "old width, old block"
    )


def test_a_copy_is_left_alone() -> None:
    state = packed([1, 2, 0, 0], seed=0)
    copy = state.clone()
    state.claim(2)
    state.release(1, {NAME: torch.ones(2, 2, dtype=torch.bool)})
    state.parts[2] = TaskPart(1.0, {})
    assert copy.owners[NAME].tolist() == [[1, 2], [0, 0]]
    assert copy.weights[NAME][0, 1] != 0
    assert 2 not in copy.parts


def test_counts_add_up_to_the_layer() -> None:
    assert packed([0, 1, 1, 2, 0, 2, 2, 1], seed=0).counts() == {NAME: [2, 3, 3]}
