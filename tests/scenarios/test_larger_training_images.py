"""Training images that are larger than those that networks are validated and tested on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.contract.requirement import Requirement, problem_of
from benchmark.contract.scenario_requirements import SCENARIO_REQUIREMENTS, ScenarioTrial
from scenarios.base import DataError, Progress, RawTask, Scenario

CLASSES = ("a", "b")


class Larger(Scenario):
    """Two tasks of 10 images of each class, 9x9 to learn from and 6x6 to test on."""

    version = 1
    image_shape = (3, 6, 6)
    mean, std = (0.5,) * 3, (0.25,) * 3

    def task_classes(self) -> list[tuple[str, tuple[str, ...]]]:
        return [("first", CLASSES), ("second", CLASSES)]

    def raw_tasks(self, names: Sequence[str], progress: Progress | None = None) -> list[RawTask]:
        return [raw_task(name) for name in names]


def raw_task(name: str, train_side: int = 9, test_side: int = 6) -> RawTask:
    rng = np.random.default_rng(len(name))
    train, test = (rng.integers(0, 256, (20, 3, side, side), dtype=np.uint8) for side in (train_side, test_side))
    labels = np.arange(20) % 2
    return RawTask(name, CLASSES, train, labels, test, labels)


def load_of(task: RawTask) -> Scenario:
    scenario = Larger(Larger.Settings(tasks=1))
    scenario.raw_tasks = lambda names, progress=None: [task]  # type: ignore[method-assign]
    return scenario


@pytest.mark.parametrize("check", SCENARIO_REQUIREMENTS, ids=str)
def test_a_scenario_may_give_larger_images_to_learn_from(check: Requirement[ScenarioTrial]) -> None:
    def make(**settings: object) -> Scenario:
        return Larger(Larger.Settings(**settings))

    assert problem_of(check, ScenarioTrial(make, Path(__file__))) is None


def test_training_images_stay_whole_and_validation_images_are_their_centre() -> None:
    raw = raw_task("first")
    (task,) = load_of(raw).load()
    assert task.train.images.shape[1:] == (3, 9, 9)
    assert task.validation.images.shape[1:] == task.test.images.shape[1:] == (3, 6, 6)
    order = torch.cat([task.train.samples, task.validation.samples]).argsort()
    centres = torch.cat([task.train.images[:, :, 1:7, 1:7], task.validation.images])[order]
    expected = {image[:, 1:7, 1:7].tobytes() for image in raw.train_images}
    assert {image.numpy().tobytes() for image in centres} == expected


def test_a_pixel_outside_the_centre_changes_the_fingerprint_and_moves_no_image() -> None:
    raw, other = raw_task("first"), raw_task("first")
    other.train_images[:, :, 0, 0] ^= 1
    (task,), (changed,) = load_of(raw).load(), load_of(other).load()
    assert torch.equal(task.train.samples, changed.train.samples)
    assert torch.equal(task.validation.images, changed.validation.images)
    assert task.test_fingerprint == changed.test_fingerprint
    assert task.fingerprint != changed.fingerprint
    assert raw.fingerprint() != other.fingerprint()


def test_images_that_differ_around_their_centre_alone_have_one_order_however_they_are_read() -> None:
    raw = raw_task("first")
    raw.train_images[:, :, 1:7, 1:7] = raw.train_images[0, :, 1:7, 1:7]
    # All of one class have equal hashes at the size that is tested.
    (task,) = load_of(raw).load()
    turned = dataclasses.replace(raw, train_images=raw.train_images[::-1], train_labels=raw.train_labels[::-1])
    (again,) = load_of(turned).load()
    assert torch.equal(task.train.images, again.train.images)
    assert task.fingerprint == again.fingerprint


def test_a_test_image_that_is_the_centre_of_a_training_image_is_told() -> None:
    raw = raw_task("first")
    raw.test_images[3] = raw.train_images[5, :, 1:7, 1:7]
    (task,) = load_of(raw).load()
    assert [line for line in task.warnings if "1 of 20 test images is an image to learn from" in line]


def test_training_images_that_are_smaller_are_refused_in_one_line() -> None:
    with pytest.raises(DataError, match="task first: training images are 5x5, test images 6x6; training images must"):
        load_of(raw_task("first", train_side=5)).load()


def test_a_method_is_given_them_as_a_network_sees_them_unaugmented() -> None:
    task = Larger(Larger.Settings()).load()[0].to_learn()
    seen = task.unaugmented
    assert seen.images.shape == (len(task.train), *Larger.image_shape)
    assert torch.equal(seen.images, task.train.images[:, :, 1:7, 1:7])
    assert torch.equal(seen.labels, task.train.labels)
    assert torch.equal(seen.samples, task.train.samples)
