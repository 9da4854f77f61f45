"""Patches of scikit-learn's two photographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_images

from benchmark.contract import problems_of
from scenarios.base import DataError, ScenarioSettings
from scenarios.photo_patches import PhotoPatches

FILE = Path(__file__).parents[2] / "scenarios" / "photo_patches.py"


def test_it_keeps_the_contract_of_a_scenario(tmp_path: Path) -> None:
    assert problems_of(FILE, tmp_path) == []


def test_a_patch_is_a_grey_piece_of_its_photograph_at_half_the_resolution() -> None:
    (task,) = PhotoPatches(ScenarioSettings()).load()
    photographs = dict(zip(("china", "flower"), load_sample_images().images, strict=True))
    for label, name in enumerate(task.classes):
        piece = photographs[name][16:32, 32:48].astype(float) @ np.array([0.299, 0.587, 0.114])
        small = np.rint(piece.reshape(8, 2, 8, 2).mean((1, 3)))
        of_class = [part.images[part.labels == label] for part in (task.train, task.validation, task.test)]
        assert any(bool((images[:, 0].double() == torch.from_numpy(small)).all((1, 2)).any()) for images in of_class)


def test_its_constants_are_those_of_the_patches_that_are_not_test_images() -> None:
    (task,) = PhotoPatches(ScenarioSettings()).load()
    pixels = torch.cat([task.train.images, task.validation.images]).double() / 255
    assert (float(pixels.mean()), float(pixels.std(correction=0))) == pytest.approx(
        (*PhotoPatches.mean, *PhotoPatches.std), abs=1e-3
    )


def test_it_has_one_task() -> None:
    with pytest.raises(DataError, match="has 1 task"):
        PhotoPatches(ScenarioSettings(tasks=2)).load()
    with pytest.raises(DataError, match="after skip = 1"):
        PhotoPatches(ScenarioSettings(skip=1)).load()
