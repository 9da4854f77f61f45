"""Random changes of training images, as tensor code on their device; and the one conversion from uint8 to [0, 1].

All randomness comes from the generator that is given, and nothing waits for the device: no `.item()`, no boolean masks.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

VERSION = 1
"""Part of every run's identity: raised whenever the same generator would give other images."""

Augmentation = Callable[[Tensor, torch.Generator], Tensor]
"""augment(images, generator): uint8 (N, C, H, W) → float32 in [0, 1]; the generator is on the images' device."""


def to_float(images: Tensor) -> Tensor:
    """Images uint8 (N, C, H, W) as float32 in [0, 1]: value / 255. For evaluation and, inside augmentation, for training."""
    # The divisor is a tensor on the device because CUDA multiplies by the reciprocal of a Python number, which is off
    # by one ulp for some values: the same image would be another one on another device.
    return images.to(torch.float32) / torch.full((), 255.0, device=images.device)


def by_name(name: str) -> Augmentation:
    """The augmentation of that name. Raises ValueError with the valid names."""
    if name not in _AUGMENTATIONS:
        raise ValueError(f"augmentation `{name}` does not exist; valid: {', '.join(sorted(_AUGMENTATIONS))}")
    return _AUGMENTATIONS[name]


def none(images: Tensor, generator: torch.Generator) -> Tensor:
    """The images themselves."""
    return to_float(images)


def crop_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Random crop of the images padded by 4 zeros on each side, then a horizontal flip with probability 1/2."""
    flips = torch.rand(len(images), generator=generator, device=images.device) < 0.5
    return to_float(_shifted(images, _offsets(images, 4, generator), 4, flips))


def shift(images: Tensor, generator: torch.Generator) -> Tensor:
    """A shift by -1, 0 or 1 pixels in each direction, zeros moving in; no flip, since a mirrored digit is no digit."""
    return to_float(_shifted(images, _offsets(images, 1, generator), 1))


_AUGMENTATIONS: dict[str, Augmentation] = {"none": none, "crop_flip": crop_flip, "shift": shift}


def _offsets(images: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    """The row and column at which each crop starts in its padded image: int64 (2, N) in 0..2*padding."""
    return torch.randint(0, 2 * padding + 1, (2, len(images)), generator=generator, device=images.device)


def _shifted(images: Tensor, offsets: Tensor, padding: int, flips: Tensor | None = None) -> Tensor:
    """The crop of each image at its offset, mirrored if it flips: like `images`.

    images: uint8 (N, C, H, W).
    offsets: int64 (2, N), as of `_offsets`.
    flips: bool (N,); None: no image flips.

    This is one gather on bytes: a flip only reverses the column indices.
    """
    n, channels, height, width = images.shape
    rows = torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device).expand(n, width)
    if flips is not None:
        columns = torch.where(flips[:, None], width - 1 - columns, columns)
    padded_width = width + 2 * padding
    index = (offsets[0][:, None] + rows)[:, :, None] * padded_width + (offsets[1][:, None] + columns)[:, None, :]
    padded = F.pad(images, (padding,) * 4).flatten(2)
    return padded.gather(2, index.flatten(1)[:, None].expand(n, channels, height * width)).view_as(images)
