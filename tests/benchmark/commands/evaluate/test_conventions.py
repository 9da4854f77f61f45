"""A network trained on images of another scale, or with classes in another order, is told; one that is right never is."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmark.commands.evaluate.conventions import IMAGENET, convention_warnings, scales
from scenarios.base import ImageSet, SourceOptions
from scenarios.digits import Digits

MEAN, STD = Digits.mean, Digits.std
TWO = ("zero", "one")


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
    (warning,) = convention_warnings(ink, [task.test], MEAN, STD, TWO)
    pixels = task.test.images.float() / 255
    right = [
        float((ink(shown).argmax(1) == task.test.labels).float().mean())
        for shown in (pixels, scales(MEAN, STD)[scale](pixels))
    ]
    assert right[1] > right[0] + 0.2
    assert f"rises from {100 * right[0]:.1f} to {100 * right[1]:.1f} %" in warning
    assert "of the scenario" in warning or scale in warning


def test_a_network_that_is_right_as_it_is_asked_or_right_nowhere_is_none(task):
    assert convention_warnings(Ink(lambda x: x), [task.test], MEAN, STD, TWO) == []
    assert convention_warnings(Ink(lambda x: 0 * x), [task.test], MEAN, STD, TWO) == []


def test_a_gain_on_few_images_is_none(task):
    def undo(images):
        # Two images more are right in another scale than in [0, 1].
        found = images * STD[0] + MEAN[0] if images.amin() < 0 else images.clone()
        if images.amin() >= 0:
            found[:2] = 1 - found[:2]
        return found

    assert convention_warnings(Ink(undo), [task.test], MEAN, STD, TWO) == []


@pytest.mark.parametrize(("of_hundred", "told"), [(3, False), (9, True)])
def test_a_small_gain_is_none_however_many_images_show_it(task, of_hundred, told):
    def undo(images):
        found = images * STD[0] + MEAN[0] if images.amin() < 0 else images.clone()
        if images.amin() >= 0:
            found[:of_hundred] = 1 - found[:of_hundred]
        return found

    many = task.test.select(torch.arange(len(task.test)).repeat(8))
    assert bool(convention_warnings(Ink(undo), [many], MEAN, STD, TWO)) is told


def test_a_scale_in_which_it_fails_is_none(task):
    def undo(images):
        if images.amin() < 0 or images.amax() > 1:
            raise ValueError("images outside [0, 1]")
        return images

    assert convention_warnings(Ink(undo), [task.test], MEAN, STD, TWO) == []


def test_networks_on_coloured_images_are_tried_with_the_numbers_of_imagenet():
    image = torch.rand(2, 3, 4, 4)
    found = scales((0.5,) * 3, (0.2,) * 3)
    (name,) = [name for name in found if "ImageNet" in name]
    mean, std = (torch.tensor(values)[:, None, None] for values in IMAGENET)
    assert torch.allclose(found[name](image), (image - mean) / std)
    assert not any("ImageNet" in name for name in scales(MEAN, STD))


class Told(nn.Module):
    """Answers with the column that an image's first pixel names, after `order`; every `wrong`-th of a batch with column 0."""

    def __init__(self, order, wrong=0):
        super().__init__()
        self.order, self.wrong = torch.tensor(order), wrong

    def forward(self, images):
        if images.amin() < 0 or images.amax() > 1:
            raise ValueError("images outside [0, 1]")
        named = (255 * images[:, 0, 0, 0]).round().long()
        columns = self.order[named]
        if self.wrong:
            columns[:: self.wrong] = 0
        return nn.functional.one_hot(columns, len(self.order)).float()


def named_by_pixels(classes, each=100):
    """Test images of so many classes, whose every pixel is the label."""
    labels = torch.arange(classes).repeat_interleave(each)
    return ImageSet(labels.to(torch.uint8)[:, None, None, None].expand(-1, 1, 2, 2), labels, torch.arange(len(labels)))


CLOTHES = ("shirt", "trouser", "dress", "pullover", "coat")


def test_columns_in_another_order_are_told_with_both_accuracies():
    by_numbers = Told([0, 1, 3, 2, 4], wrong=5)
    (warning,) = convention_warnings(by_numbers, [named_by_pixels(5)], MEAN, STD, CLOTHES)
    assert warning.startswith("class order: its clean accuracy rises from ")
    assert "% if columns 2, 3 stand for pullover, dress; expected are dress, pullover: if it was trained" in warning


def test_two_columns_that_are_swapped_are_told():
    (warning,) = convention_warnings(Told([1, 0]), [named_by_pixels(2)], MEAN, STD, TWO)
    assert "rises from 0.0 to 100.0 % if columns 0, 1 stand for one, zero; expected are zero, one" in warning


def test_of_many_columns_the_first_are_named():
    order = [(i + 1) % 20 for i in range(20)]
    (warning,) = convention_warnings(Told(order), [named_by_pixels(20)], MEAN, STD, [f"class {i}" for i in range(20)])
    assert "columns 0, 1, 2, 3, 4, 5, ... stand for" in warning


def test_columns_in_the_expected_order_and_answers_by_chance_are_none():
    class Chance(nn.Module):
        def forward(self, images):
            return torch.rand(len(images), 5)

    for network in (Told([0, 1, 2, 3, 4], wrong=2), Told([4, 4, 4, 4, 4]), Chance()):
        assert convention_warnings(network, [named_by_pixels(5)], MEAN, STD, CLOTHES) == []


def test_an_order_that_fits_the_images_it_was_chosen_by_alone_is_none():
    class Half(nn.Module):
        """Swapped on the first half of each class, right on the second: images come in the same order to be asked about."""

        def forward(self, images):
            named = (255 * images[:, 0, 0, 0]).round().long().clamp(0, 1)
            swapped = (255 * images[:, 0, 0, 1]).round().long() == 0
            return nn.functional.one_hot(torch.where(swapped, 1 - named, named), 2).float()

    tests = named_by_pixels(2)
    images = tests.images.clone()
    images[:, 0, 0, 1] = (tests.samples % 100 >= 50).to(torch.uint8)
    assert convention_warnings(Half(), [ImageSet(images, tests.labels, tests.samples)], MEAN, STD, TWO) == []


def test_columns_that_are_never_answered_stay_where_they_are():
    (warning,) = convention_warnings(Told([0, 0, 0, 0, 1]), [named_by_pixels(5)], MEAN, STD, CLOTHES)
    assert "if columns 1, 4 stand for coat, trouser" in warning


def test_images_of_some_classes_alone_tell_no_order():
    # A network that has forgotten shirts and trousers takes them for dresses and coats, as one in another order would.
    some = named_by_pixels(5).select(torch.arange(200))
    assert convention_warnings(Told([2, 4, 2, 3, 4]), [some], MEAN, STD, CLOTHES) == []
