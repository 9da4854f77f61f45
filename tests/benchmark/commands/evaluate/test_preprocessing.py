"""A network that expects images of another scale is told; one that is right as it is asked never is."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmark.commands.evaluate.preprocessing import IMAGENET, preprocessing_warnings, scales
from scenarios.base import SourceOptions
from scenarios.digits import Digits

MEAN, STD = Digits.mean, Digits.std


@pytest.fixture(scope="module")
def task():
    return Digits(Digits.Settings(tasks=1), SourceOptions()).load()[0]


class Ink(nn.Module):
    """Ones have ink in the middle, zeros have none: right on most images in [0, 1] after `undo`."""

    def __init__(self, undo, enough=0.7):
        super().__init__()
        self.undo, self.enough = undo, enough

    def forward(self, images):
        images = self.undo(images)
        centre = images[:, 0, 3:5, 3:5].mean((1, 2)) - 0.1 * images.mean((1, 2, 3))
        return torch.stack([self.enough - centre, centre - self.enough], 1)


UNDO = {
    f"standardised with mean {MEAN[0]:g} and std {STD[0]:g} of the scenario": lambda x: x * STD[0] + MEAN[0],
    "scaled to [-1, 1]": lambda x: (x + 1) / 2,
    "scaled to [0, 255]": lambda x: x / 255,
}


@pytest.mark.parametrize("scale", UNDO)
def test_a_rise_in_accuracy_is_told_with_the_scale_and_both_accuracies(task, scale):
    ink = Ink(UNDO[scale], 0.7 if "scenario" in scale else 0.4)
    (warning,) = preprocessing_warnings(ink, [task.test], MEAN, STD)
    pixels = task.test.images.float() / 255
    right = [
        float((ink(shown).argmax(1) == task.test.labels).float().mean())
        for shown in (pixels, scales(MEAN, STD)[scale](pixels))
    ]
    assert right[1] > right[0] + 0.2
    assert f"rises from {100 * right[0]:.1f} to {100 * right[1]:.1f} %" in warning
    assert "of the scenario" in warning or scale in warning


def test_a_network_that_is_right_as_it_is_asked_or_right_nowhere_is_none(task):
    assert preprocessing_warnings(Ink(lambda x: x), [task.test], MEAN, STD) == []
    assert preprocessing_warnings(Ink(lambda x: 0 * x), [task.test], MEAN, STD) == []


def test_a_gain_on_few_images_is_none(task):
    def undo(images):
        # Two images more are right in another scale than in [0, 1].
        found = images * STD[0] + MEAN[0] if images.amin() < 0 else images.clone()
        if images.amin() >= 0:
            found[:2] = 1 - found[:2]
        return found

    assert preprocessing_warnings(Ink(undo), [task.test], MEAN, STD) == []


@pytest.mark.parametrize(("of_hundred", "told"), [(3, False), (9, True)])
def test_a_small_gain_is_none_however_many_images_show_it(task, of_hundred, told):
    def undo(images):
        found = images * STD[0] + MEAN[0] if images.amin() < 0 else images.clone()
        if images.amin() >= 0:
            found[:of_hundred] = 1 - found[:of_hundred]
        return found

    many = task.test.select(torch.arange(len(task.test)).repeat(8))
    assert bool(preprocessing_warnings(Ink(undo), [many], MEAN, STD)) is told


def test_a_scale_in_which_it_fails_is_none(task):
    def undo(images):
        if images.amin() < 0 or images.amax() > 1:
            raise ValueError("images outside [0, 1]")
        return images

    assert preprocessing_warnings(Ink(undo), [task.test], MEAN, STD) == []


def test_networks_on_coloured_images_are_tried_with_the_numbers_of_imagenet():
    image = torch.rand(2, 3, 4, 4)
    found = scales((0.5,) * 3, (0.2,) * 3)
    (name,) = [name for name in found if "ImageNet" in name]
    mean, std = (torch.tensor(values)[:, None, None] for values in IMAGENET)
    assert torch.allclose(found[name](image), (image - mean) / std)
    assert not any("ImageNet" in name for name in scales(MEAN, STD))
