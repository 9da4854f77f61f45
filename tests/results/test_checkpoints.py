"""Checkpoints come back to the bit, store equal tensors once, and are never trusted when they were changed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from results.checkpoints import Checkpoint, Checkpoints, stored_bytes
from results.files import StoreError


def blobs(checkpoints: Checkpoints) -> list[Path]:
    return sorted(checkpoints.directory.glob("blobs/*"))


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path)


def test_tensors_of_every_kind_come_back_to_the_bit(checkpoints: Checkpoints) -> None:
    tensors = {
        "weight": torch.randn(3, 4),
        "channels_last": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
        "half": torch.randn(5).bfloat16(),
        "mask": torch.rand(7) > 0.5,
        "owner": torch.arange(6, dtype=torch.uint8),
        "count": torch.tensor(3),
        "empty": torch.zeros(0, 2),
        "odd": torch.tensor([float("nan"), -0.0, float("inf")]),
    }
    checkpoints.save("task-000", Checkpoint(tensors, {"a": [1, 2]}, result=0.5))
    loaded = checkpoints.load("task-000")
    assert loaded.values == {"a": [1, 2]}
    assert loaded.result == 0.5
    for name, tensor in tensors.items():
        assert loaded.tensors[name].dtype == tensor.dtype
        assert torch.equal(loaded.tensors[name].isnan(), tensor.isnan())
        assert torch.equal(loaded.tensors[name].nan_to_num(), tensor.nan_to_num())


def test_what_did_not_change_is_stored_once(checkpoints: Checkpoints) -> None:
    shared = torch.randn(10)
    checkpoints.save("task-000", Checkpoint({"shared": shared, "own": torch.zeros(2)}))
    checkpoints.save("task-001", Checkpoint({"shared": shared.clone(), "own": torch.ones(2)}))
    assert len(blobs(checkpoints)) == 3


def test_forgetting_a_checkpoint_keeps_what_others_need(checkpoints: Checkpoints) -> None:
    shared = torch.randn(10)
    checkpoints.save("task-000", Checkpoint({"shared": shared, "own": torch.zeros(2)}))
    checkpoints.save("task-001", Checkpoint({"shared": shared, "own": torch.ones(2)}))
    checkpoints.forget(["task-000"])
    assert checkpoints.names() == ["task-001"]
    assert len(blobs(checkpoints)) == 2
    assert torch.equal(checkpoints.load("task-001").tensors["shared"], shared)


def test_an_exchanged_blob_is_refused_by_name(checkpoints: Checkpoints) -> None:
    checkpoints.save("task-000", Checkpoint({"a": torch.zeros(4), "b": torch.ones(4)}))
    first, second = blobs(checkpoints)
    first.write_bytes(second.read_bytes())
    with pytest.raises(StoreError, match=first.name):
        checkpoints.load("task-000")


def test_a_truncated_blob_is_refused_by_name(checkpoints: Checkpoints) -> None:
    checkpoints.save("task-000", Checkpoint({"a": torch.zeros(4)}))
    (blob,) = blobs(checkpoints)
    blob.write_bytes(blob.read_bytes()[:-3])
    with pytest.raises(StoreError, match=blob.name):
        checkpoints.load("task-000")


def test_stored_bytes_counts_equal_tensors_once_and_masks_in_bits() -> None:
    weight = torch.randn(100)
    assert stored_bytes({"a": weight, "b": weight.clone()}) == 400
    assert stored_bytes({"mask": torch.rand(17) > 0.5}) == 3
