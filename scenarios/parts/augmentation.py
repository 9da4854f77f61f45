"""Random changes of training images, as tensor code on their device; and the one conversion from uint8 to [0, 1].

All randomness comes from the generator that is given, and nothing waits for the device: no `.item()`, no boolean masks. Training
images may be larger than what comes out; each augmentation says how it cuts them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from scenarios.canonical import centre
from scenarios.parts.resized_crops import random_boxes, resized_crops

VERSION = 1
"""Part of every run's identity: raised whenever the same generator would give other images."""

Size = tuple[int, int]
"""(height, width) of what comes out."""

Augmentation = Callable[[Tensor, torch.Generator, Size], Tensor]
"""augment(images, generator, size): uint8 (N, C, H, W) → float32 (N, C, *size) in [0, 1].

The generator is on the images' device, and size at most (H, W).
"""


def to_float(images: Tensor) -> Tensor:
    """Images uint8 (N, C, H, W) as float32 in [0, 1]: value / 255. For evaluation and, inside augmentation, for training."""
    return _divided(images.to(torch.float32))


def _divided(images: Tensor) -> Tensor:
    # The divisor is a tensor on the device because CUDA multiplies by the reciprocal of a Python number, which is off
    # by one ulp for some values: the same image would be another one on another device.
    return images / torch.full((), 255.0, device=images.device)


def by_name(name: str) -> Augmentation:
    """The augmentation of that name. Raises ValueError with the valid names."""
    if name not in _AUGMENTATIONS:
        raise ValueError(f"augmentation `{name}` does not exist; valid: {', '.join(sorted(_AUGMENTATIONS))}")
    return _AUGMENTATIONS[name]


def none(images: Tensor, generator: torch.Generator, size: Size) -> Tensor:
    """The images themselves, or the centre of larger ones."""
    return to_float(centre(images, size))


def crop_flip(images: Tensor, generator: torch.Generator, size: Size) -> Tensor:
    """A random window, then a horizontal flip with probability 1/2; images that are no larger get 4 zeros on each side first."""
    flips = torch.rand(len(images), generator=generator, device=images.device) < 0.5
    larger = images.shape[-2:] != torch.Size(size)
    return to_float(_window(images if larger else F.pad(images, (4,) * 4), size, generator, flips))


def shift(images: Tensor, generator: torch.Generator, size: Size) -> Tensor:
    """A shift by -1, 0 or 1 pixels in each direction, zeros moving in; no flip, since a mirrored digit is no digit."""
    return to_float(_window(F.pad(centre(images, size), (1,) * 4), size, generator))


def resized_crop_flip(
    images: Tensor, generator: torch.Generator, size: Size, smallest: float = 0.08, largest: float = 1.0
) -> Tensor:
    """A random part of the image, stretched to `size`, then a horizontal flip with probability 1/2, as ImageNet is trained on.

    smallest, largest: the area of the part as a share of the image's; its width is 3/4 to 4/3 of its height.
    """
    boxes = random_boxes(len(images), (images.shape[-2], images.shape[-1]), (smallest, largest), generator)
    flips = torch.rand(len(images), generator=generator, device=images.device) < 0.5
    return _divided(resized_crops(images, boxes, size, flips))


_AUGMENTATIONS: dict[str, Augmentation] = {
    "none": none,
    "crop_flip": crop_flip,
    "shift": shift,
    "resized_crop_flip": resized_crop_flip,
    # A small data set shows each class too seldom for parts that may miss what is to be seen.
    "gentle_resized_crop_flip": partial(resized_crop_flip, smallest=0.5),
}


def _window(images: Tensor, size: Size, generator: torch.Generator, flips: Tensor | None = None) -> Tensor:
    """A window at a random place of each image, uint8 (N, C, *size), mirrored if it flips.

    flips: bool (N,); None: no image flips.
    """
    room = [side - wanted for side, wanted in zip(images.shape[-2:], size, strict=True)]
    if room[0] == room[1]:
        offsets = torch.randint(0, room[0] + 1, (2, len(images)), generator=generator, device=images.device)
    else:
        drawn = [torch.randint(0, r + 1, (len(images),), generator=generator, device=images.device) for r in room]
        offsets = torch.stack(drawn)
    return _cut(images, offsets, size, flips)


def _cut(images: Tensor, offsets: Tensor, size: Size, flips: Tensor | None = None) -> Tensor:
    """The window of each image at its offset, mirrored if it flips: uint8 (N, C, *size).

    offsets: int64 (2, N), the row and the column at which each window starts.
    flips: bool (N,); None: no image flips.

    This is one gather on bytes: a flip only reverses the column indices.
    """
    (n, channels), (height, width) = images.shape[:2], size
    rows = torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device).expand(n, width)
    if flips is not None:
        columns = torch.where(flips[:, None], width - 1 - columns, columns)
    index = (offsets[0][:, None] + rows)[:, :, None] * images.shape[-1] + (offsets[1][:, None] + columns)[:, None, :]
    gathered = images.flatten(2).gather(2, index.flatten(1)[:, None].expand(n, channels, height * width))
    return gathered.view(n, channels, height, width)
