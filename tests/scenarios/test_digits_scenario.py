"""The digits as a stream of five tasks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from scenarios.digits import Digits


def test_names_counts_and_thirty_percent_test_per_class() -> None:
    tasks = Digits(Digits.Settings()).load()
    assert [task.name for task in tasks] == [f"digits_{a}_{a + 1}" for a in (0, 2, 4, 6, 8)]
    assert tasks[3].classes == ("6", "7")
    assert sum(len(p) for task in tasks for p in (task.train, task.validation, task.test)) == 1797
    totals = np.bincount(load_digits().target)
    for digit in range(10):
        assert int((tasks[digit // 2].test.labels == digit % 2).sum()) == round(0.3 * totals[digit])


def test_each_task_holds_exactly_its_digits() -> None:
    data = load_digits()
    values = np.floor(data.images * 255 / 16 + 0.5).astype(np.uint8)
    for position, task in enumerate(Digits(Digits.Settings()).load()):
        for label in (0, 1):
            parts = (task.train, task.validation, task.test)
            here = sorted(image.numpy().tobytes() for p in parts for image in p.images[p.labels == label])
            assert here == sorted(image.tobytes() for image in values[data.target == 2 * position + label])


def test_the_constants_are_those_of_the_images_that_are_not_test() -> None:
    tasks = Digits(Digits.Settings()).load()
    pixels = torch.cat([p.images for task in tasks for p in (task.train, task.validation)]).double() / 255
    assert pixels.mean().item() == pytest.approx(Digits.mean[0], abs=5e-5)
    assert pixels.std(correction=0).item() == pytest.approx(Digits.std[0], abs=5e-5)
