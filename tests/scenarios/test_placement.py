"""Images that do not fit into memory: the same images, elsewhere."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from scenarios import placement
from scenarios.base import DataError, ImageSet, fingerprint_of_tasks
from scenarios.parts.decoded_cache import CacheWarning
from scenarios.placement import TrainingImages, cache_folder, device_for, empty_images, gathered
from tests.scenarios.tiny_cifar100 import MakeScenario

CPU = torch.device("cpu")


@pytest.fixture
def no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "free_bytes", lambda device="cpu": 0)


def images(count: int = 10, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3, 4, 4), dtype=np.uint8)


def is_mapped(array: np.ndarray) -> bool:
    base: object = array
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap):
            return True
        base = base.base
    return False


def test_images_are_in_memory_while_it_lasts_and_in_a_file_without_a_name_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "free_bytes", lambda device="cpu": 100)
    assert not is_mapped(empty_images((5, 10)))
    room = empty_images((5, 11))
    assert is_mapped(room)
    room[:] = 7
    assert (np.asarray(room) == 7).all()
    assert not [file for file in cache_folder().rglob("*") if file.is_file()]


def test_a_disk_without_room_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, no_memory: None) -> None:
    def full(file: int, start: int, size: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(placement.os, "posix_fallocate", full)
    with pytest.raises(DataError, match=r"images take 3\.0 GB, of 0\.0 GB .* no room for them \(No space left on dev"):
        empty_images((3, 10**9))


def test_images_are_gathered_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "_CHUNK", 3 * 48)
    index = np.array([9, 0, 0, 4, 7, 2, 1])
    assert torch.equal(gathered(images(), index, "cpu"), torch.from_numpy(images()[index]))
    assert gathered(images(), index[:0], "cpu").shape == (0, 3, 4, 4)


def test_a_device_holds_training_images_that_take_at_most_half_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "free_bytes", lambda device="cpu": 100)
    assert device_for(50, "cuda").type == "cuda"
    assert device_for(51, "cuda").type == "cpu"


def test_a_process_that_was_allowed_a_part_of_a_gpu_has_images_there_as_far_as_they_fit_into_that_part(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stand_ins = {"mem_get_info": (800, 1000), "get_per_process_memory_fraction": 0.25, "memory_allocated": 50}
    for name, value in stand_ins.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    for device in ("cuda", "cuda:1"):
        assert device_for(100, device).type == "cuda"
        assert device_for(101, device).type == "cpu"


def test_free_memory_is_a_number_of_this_machine() -> None:
    assert 0 < placement.free_bytes() < 2**50


def test_a_scenario_that_does_not_fit_is_the_same_scenario(
    make_scenario: MakeScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = make_scenario().load()
    monkeypatch.setattr(placement, "free_bytes", lambda device="cpu": 0)
    rooms: list[np.ndarray] = []
    monkeypatch.setattr(placement, "empty_images", lambda shape: rooms.append(empty_images(shape)) or rooms[-1])
    for cached in (True, False):
        if not cached:
            monkeypatch.setenv("CONTINUAL_CACHE", str(cache_folder().with_name("another")))
        tasks = make_scenario().load()
        assert fingerprint_of_tasks(tasks) == fingerprint_of_tasks(plain)
        for task, expected in zip(tasks, plain, strict=True):
            assert task.train.images.data_ptr() in {room.ctypes.data for room in rooms if is_mapped(room)}
            assert torch.equal(task.train.images, expected.train.images)
            assert torch.equal(task.test.images, expected.test.images)


def test_images_from_the_cache_may_be_written_to_and_the_cache_stays(make_scenario: MakeScenario) -> None:
    scenario = make_scenario(tasks=1)
    (first,) = scenario.load()
    (raw,) = scenario.raw_tasks([first.name])
    raw.train_images[:] = 0
    warnings.simplefilter("error", CacheWarning)  # an entry that has changed is told, and decoded again
    assert make_scenario(tasks=1).load()[0].fingerprint == first.fingerprint


@pytest.mark.parametrize("counts", [(10,), (4, 7, 1)])
def test_minibatches_are_the_images_in_that_order_however_many_tasks_they_are_of(counts: tuple[int, ...]) -> None:
    parts = [torch.from_numpy(images(count, seed)) for seed, count in enumerate(counts)]
    order = torch.randperm(sum(counts))
    found = list(TrainingImages(parts, CPU).minibatches(order, 3))
    assert [len(each) for each in found] == [len(each) for each in order.split(3)]
    # All at once, so that a batch that is overwritten by the next one shows.
    assert torch.equal(torch.cat(found), torch.cat(parts)[order])


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
@pytest.mark.parametrize("counts", [(10,), (4, 7, 1)])
def test_minibatches_are_moved_to_a_gpu_from_the_host(counts: tuple[int, ...]) -> None:
    parts = [torch.from_numpy(images(count, seed)) for seed, count in enumerate(counts)]
    device = torch.device("cuda")
    order = torch.randperm(sum(counts), device=device)
    expected = torch.cat(parts)[order.cpu()]
    for places in (["cpu"] * len(parts), ["cuda"] * len(parts), ["cuda", "cpu", "cpu"][: len(parts)]):
        kept = [part.to(place) for part, place in zip(parts, places, strict=True)]
        found = list(TrainingImages(kept, device).minibatches(order, 3))
        assert {each.device.type for each in found} == {"cuda"}
        assert torch.equal(torch.cat(found).cpu(), expected)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_images_on_the_host_are_chosen_by_indices_on_a_gpu() -> None:
    kept = torch.from_numpy(images(5, 0))
    labels = torch.arange(5, device="cuda")
    found = ImageSet(kept, labels, labels).select(torch.tensor([3, 1], device="cuda"))
    assert torch.equal(found.images, kept[[3, 1]])
    assert found.labels.tolist() == [3, 1]
