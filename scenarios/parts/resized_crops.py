"""torchvision's RandomResizedCrop with a box for each image of a batch, as tensor code that never waits for the device."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

TRIES = 10
"""Boxes that are drawn for each image; the first that fits is taken, as in torchvision."""
RATIOS = (3 / 4, 4 / 3)
"""Least and greatest width of a box, in its heights."""


def random_boxes(
    count: int, image: tuple[int, int], areas: tuple[float, float], generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Boxes of the distribution of torchvision's `RandomResizedCrop.get_params`: top, left, height, width, each int64 (count,).

    image: (height, width) of the images.
    areas: least and greatest area of a box, as a share of the image's.
    generator: its device is the boxes'.

    An image for which no box fits gets the largest central one within the ratios.
    """
    height, width = image
    draws = torch.rand((count, 2 * TRIES + 2), generator=generator, device=generator.device, dtype=torch.float64)
    area = height * width * (areas[0] + (areas[1] - areas[0]) * draws[:, :TRIES])
    low, high = (math.log(ratio) for ratio in RATIOS)
    ratio = torch.exp(low + (high - low) * draws[:, TRIES : 2 * TRIES])
    widths, heights = torch.sqrt(area * ratio).round(), torch.sqrt(area / ratio).round()
    fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
    # argmax of the first that fits; where none does it is 0, and the choice is replaced below.
    first, found = fits.to(torch.uint8).argmax(1, keepdim=True), fits.any(1)
    whole_height, whole_width = _largest_within_ratios(height, width)
    h = torch.where(found, heights.gather(1, first)[:, 0], float(whole_height))
    w = torch.where(found, widths.gather(1, first)[:, 0], float(whole_width))
    top = torch.where(found, _place(draws[:, -2], height - h), float((height - whole_height) // 2))
    left = torch.where(found, _place(draws[:, -1], width - w), float((width - whole_width) // 2))
    return top.long(), left.long(), h.long(), w.long()


def _largest_within_ratios(height: int, width: int) -> tuple[int, int]:
    if width / height < RATIOS[0]:
        return round(width / RATIOS[0]), width
    if width / height > RATIOS[1]:
        return height, round(height * RATIOS[1])
    return height, width


def _place(draw: Tensor, room: Tensor) -> Tensor:
    """A whole number in 0..room, all equally likely, from a number in [0, 1)."""
    # A draw just under 1 could be rounded up to room + 1.
    return torch.minimum((draw * (room + 1)).floor(), room)


def resized_crops(
    images: Tensor, boxes: tuple[Tensor, Tensor, Tensor, Tensor], size: tuple[int, int], flips: Tensor
) -> Tensor:
    """The box of each image, resized bilinearly with antialiasing, mirrored if it flips: float32 (N, C, *size) in [0, 255].

    images: uint8 (N, C, H, W).
    boxes: top, left, height, width, each int64 (N,), inside the image.
    size: (height, width) of the result.
    flips: bool (N,).

    Pillow's and torchvision's filter: a triangle as wide as the shrinking asks for, cut off at the box. Unlike theirs the result
    is not rounded to bytes.
    """
    # Image by image is several times faster on a CPU, and makes a GPU wait for every box.
    resized = one_by_one(images, boxes, size) if images.device.type == "cpu" else all_at_once(images, boxes, size)
    return torch.where(flips[:, None, None, None], resized.flip(-1), resized).clamp(0, 255)


def one_by_one(images: Tensor, boxes: tuple[Tensor, Tensor, Tensor, Tensor], size: tuple[int, int]) -> Tensor:
    """As `resized_crops` without flips, by torch's own resizing of each image."""
    out = torch.empty((*images.shape[:2], *size))
    for i, (top, left, height, width) in enumerate(torch.stack(boxes, 1).tolist()):
        crop = images[i : i + 1, :, top : top + height, left : left + width].to(torch.float32)
        out[i] = F.interpolate(crop, size, mode="bilinear", align_corners=False, antialias=True)[0]
    return out


def all_at_once(images: Tensor, boxes: tuple[Tensor, Tensor, Tensor, Tensor], size: tuple[int, int]) -> Tensor:
    """As `one_by_one`, as a weighted sum of rows and one of columns: two batched products of matrices."""
    top, left, height, width = boxes
    rows = _weights(top, height, images.shape[-2], size[0])
    columns = _weights(left, width, images.shape[-1], size[1])
    return torch.matmul(rows[:, None], torch.matmul(images.to(torch.float32), columns.transpose(1, 2)[:, None]))


def _weights(start: Tensor, length: Tensor, pixels: int, out: int) -> Tensor:
    """The share of each pixel of a line in each pixel of its resized part: float32 (N, out, pixels); rows add up to 1.

    start, length: of the part, int64 (N,).
    """
    # In float64, as Pillow computes them: whether a pixel at the edge of a triangle counts must not depend on rounding.
    scale = length.double()[:, None, None] / out
    places = torch.arange(pixels, device=start.device, dtype=torch.float64) + 0.5 - start[:, None, None]
    centres = (torch.arange(out, device=start.device, dtype=torch.float64)[:, None] + 0.5) * scale
    weights = (1 - (places - centres).abs() / scale.clamp_min(1)).clamp_min(0)
    weights = weights * ((places > 0) & (places < length[:, None, None]))
    return (weights / weights.sum(2, keepdim=True)).float()
