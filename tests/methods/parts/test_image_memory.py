"""A memory of images: each image is kept as likely as any other, as it was read, with what belongs to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from scipy import stats
from torch import Tensor

from methods.parts.image_memory import KeptImages, Reservoir, reservoir_places
from scenarios.base import ImageSet


def part(count: int, first: int = 0, size: int = 2, label: int = 0) -> ImageSet:
    """Images that can be told apart by their pixels: image number n is full of `first` + n."""
    numbers = torch.arange(first, first + count)
    images = numbers.to(torch.uint8)[:, None, None, None].expand(count, 1, size, size).clone()
    return ImageSet(images, numbers % 3 + label, numbers)


def numbers_of(kept: KeptImages | None) -> list[int]:
    assert kept is not None
    return kept.images[:, 0, 0, 0].tolist()


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def occupants(capacity: int, offers: list[int], seed: int) -> Iterator[int]:
    """The numbers of the images that are there after several offers."""
    generator, held, seen = rng(seed), {}, 0
    for count in offers:
        for number, place in enumerate(reservoir_places(seen, count, capacity, generator).tolist(), seen):
            if place >= 0:
                held[place] = number
        seen += count
    yield from held.values()


def test_every_image_is_kept_as_often_as_any_other() -> None:
    runs, counts = 2000, torch.zeros(12)
    for seed in range(runs):
        for number in occupants(4, [3, 6, 3], seed):
            counts[number] += 1
    assert int(counts.sum()) == 4 * runs
    # Of one run the images are drawn without replacement: the statistic is that much smaller.
    statistic = float(((counts - runs / 3) ** 2 / (runs / 3)).sum()) / (1 - 4 / 12) * 11 / 12
    assert stats.chi2.sf(statistic, 11) > 1e-3


def test_places_are_those_there_are_and_the_first_images_fill_them_in_order() -> None:
    places = reservoir_places(0, 200, 5, rng())
    assert places[:5].tolist() == [0, 1, 2, 3, 4]
    assert set(places[5:].tolist()) == {-1, 0, 1, 2, 3, 4}
    assert reservoir_places(0, 7, 0, rng()).tolist() == [-1] * 7


@pytest.mark.parametrize("capacity", [1, 5, 20, 50])
def test_the_memory_holds_what_it_can_and_images_that_went_do_not_come_back(capacity: int) -> None:
    memory, before = Reservoir(capacity), set(range(20))
    for task in range(3):
        memory.offer(part(20, 20 * task), task, rng(task))
        assert len(memory) == min(capacity, 20 * (task + 1))
        now = set(numbers_of(memory.kept))
        assert len(now) == len(memory), "no image is there twice"
        assert {number for number in now if number < 20} <= before
        before = {number for number in now if number < 20}


def test_images_are_kept_as_they_were_read_with_their_labels_and_tasks() -> None:
    memory, parts = Reservoir(9), [part(20, 0, label=0), part(20, 20, label=7)]
    for task, each in enumerate(parts):
        memory.offer(each, task, rng(task))
    kept = memory.kept
    assert kept is not None
    assert kept.images.dtype == torch.uint8
    assert set(kept.tasks.tolist()) == {0, 1}
    for image, label, task, number in zip(kept.images, kept.labels, kept.tasks, numbers_of(kept), strict=True):
        source, place = parts[int(task)], number - 20 * int(task)
        assert torch.equal(image, source.images[place])
        assert label == source.labels[place]


def test_images_of_a_task_are_offered_in_a_random_order() -> None:
    memory, other = Reservoir(20), Reservoir(20)
    memory.offer(part(20), 0, rng())
    other.offer(part(20), 0, rng(1))
    assert numbers_of(memory.kept) != numbers_of(other.kept)
    assert sorted(numbers_of(memory.kept)) == sorted(numbers_of(other.kept)) == list(range(20))


def test_a_memory_without_room_stays_empty() -> None:
    memory = Reservoir(0)
    memory.offer(part(20), 0, rng())
    assert (len(memory), memory.kept, memory.seen, memory.tensors()) == (0, None, 20, {})


def _logits(new: KeptImages) -> Tensor:
    return new.images[:, 0, 0, :1].float() + torch.tensor([[0.25, 0.5]])


def test_logits_stay_with_their_image() -> None:
    memory = Reservoir(9)
    for task in range(3):
        memory.offer(part(20, 20 * task), task, rng(task), _logits)
    assert memory.kept is not None
    assert memory.kept.logits is not None
    assert torch.equal(memory.kept.logits, _logits(memory.kept))


def test_logits_of_more_classes_than_before_leave_the_others_without_them() -> None:
    one, two = KeptImages.of(part(2), 0), KeptImages.of(part(2, 2), 1)
    joined = KeptImages(one.images, one.labels, one.tasks, torch.zeros(2, 1)).joined(
        KeptImages(two.images, two.labels, two.tasks, torch.zeros(2, 3))
    )
    assert joined.logits is not None
    assert joined.logits.isneginf().tolist() == [[False, True, True]] * 2 + [[False] * 3] * 2


def test_what_is_stored_comes_back_and_learning_goes_on_alike() -> None:
    memory, other = Reservoir(9), Reservoir(9)
    memory.offer(part(20), 0, rng(), _logits)
    other.load(memory.tensors(), memory.seen)
    for each in (memory, other):
        each.offer(part(20, 20), 1, rng(1), _logits)
    assert memory.tensors().keys() == other.tensors().keys() == {"images", "labels", "tasks", "logits"}
    assert all(torch.equal(tensor, other.tensors()[name]) for name, tensor in memory.tensors().items())


def test_a_network_sees_the_centre_of_larger_images() -> None:
    images = torch.arange(16, dtype=torch.uint8).reshape(1, 1, 4, 4)
    kept = KeptImages(images, torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64))
    assert torch.equal(kept.as_seen((2, 2)) * 255, torch.tensor([[[[5.0, 6.0], [9.0, 10.0]]]]))
