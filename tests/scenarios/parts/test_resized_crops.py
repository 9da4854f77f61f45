"""Resized crops against torchvision's, box by box, and their boxes against the distribution of torchvision's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.v2 import functional as theirs

from scenarios.parts.resized_crops import all_at_once, one_by_one, random_boxes, resized_crops

Boxes = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(count: int, height: int, width: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, height, width), generator=generator(1), dtype=torch.uint8)


def assert_as_torchvision(pixels: torch.Tensor, boxes: Boxes, size: tuple[int, int]) -> None:
    flips = torch.arange(len(pixels)) % 2 == 1
    plain = {"one by one": one_by_one(pixels, boxes, size), "at once": all_at_once(pixels, boxes, size)}
    flipped = {
        f"{way}, flipped": torch.where(flips[:, None, None, None], each.flip(-1), each) for way, each in plain.items()
    }
    assert torch.equal(resized_crops(pixels, boxes, size, flips), flipped["one by one, flipped"].clamp(0, 255))
    for i, image in enumerate(pixels):
        top, left, height, width = (int(each[i]) for each in boxes)
        for of_theirs, tolerance in ((image, 1.01), (image.float(), 0.01)):
            expected = theirs.resized_crop(of_theirs, top, left, height, width, list(size), antialias=True).float()
            # Bytes are rounded after each direction there; floats are not.
            for way, found in plain.items():
                assert (found[i] - expected).abs().max() <= tolerance, way


@pytest.mark.parametrize(("side", "size"), [(73, 64), (64, 64), (20, 31), (37, 8)])
def test_pixels_are_those_of_torchvision_on_the_same_boxes(side: int, size: int) -> None:
    boxes = random_boxes(24, (side, side), (0.08, 1.0), generator())
    assert_as_torchvision(images(24, side, side), boxes, (size, size))


def test_boxes_of_one_pixel_of_a_border_and_of_everything_are_those_of_torchvision_too() -> None:
    corners = [(0, 0, 1, 1), (11, 17, 1, 1), (0, 17, 12, 1), (11, 0, 1, 18), (0, 0, 12, 18), (3, 0, 9, 18)]
    top, left, height, width = (torch.tensor(column) for column in zip(*corners, strict=True))
    assert_as_torchvision(images(len(corners), 12, 18), (top, left, height, width), (7, 5))


@pytest.mark.parametrize(("image", "areas"), [((73, 73), (0.08, 1.0)), ((64, 48), (0.5, 1.0)), ((9, 90), (0.2, 1.0))])
def test_boxes_are_distributed_as_those_of_torchvision(image: tuple[int, int], areas: tuple[float, float]) -> None:
    count = 4000
    torch.manual_seed(0)
    blank = torch.zeros(1, *image)
    expected = np.array([RandomResizedCrop.get_params(blank, list(areas), [3 / 4, 4 / 3]) for _ in range(count)])
    found = torch.stack(random_boxes(count, image, areas, generator()), 1).numpy()
    assert (found[:, :2] >= 0).all()
    assert (found[:, :2] + found[:, 2:] <= image).all()
    for name, mine, other in (
        *((axis, found[:, i], expected[:, i]) for i, axis in enumerate(("top", "left", "height", "width"))),
        ("area", found[:, 2] * found[:, 3], expected[:, 2] * expected[:, 3]),
        ("ratio", found[:, 3] / found[:, 2], expected[:, 3] / expected[:, 2]),
        ("bottom", found[:, 0] + found[:, 2], expected[:, 0] + expected[:, 2]),
    ):
        assert ks_2samp(mine, other).pvalue > 1e-4, name


def test_where_no_box_fits_the_largest_central_one_within_the_ratios_is_taken() -> None:
    for image, expected in (((4, 400), (0, 197, 4, 5)), ((400, 4), (197, 0, 5, 4))):
        # An area of the whole image in a ratio of 3/4 to 4/3 is higher or wider than the image.
        boxes = random_boxes(3, image, (1.0, 1.0), generator())
        assert torch.stack(boxes, 1).tolist() == [list(expected)] * 3
        assert RandomResizedCrop.get_params(torch.zeros(1, *image), [1.0, 1.0], [3 / 4, 4 / 3]) == expected
