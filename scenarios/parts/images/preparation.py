"""The way from a stored image to pixels of one size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scenarios.base import DataError
from scenarios.canonical import centre
from scenarios.parts.decoding import AS_STORED, Decoder

LARGEST, LONGEST = 2**27, 32
"""A resized image may have so many pixels before its centre is cut out, or so many times those of the centre: beyond both, it is
an image of absurd proportions, and would fill the memory."""


class ToPixels(Protocol):
    """A way from stored images to pixels."""

    @property
    def decoder(self) -> Decoder:
        """The maker of pixels of stored images."""

    @property
    def options(self) -> Mapping[str, object]:
        """Everything that decides the pixels, as JSON, for the key of the cache."""

    def shape(self, part: str) -> tuple[int, int, int]:
        """(C, H, W) of the images of a part, "train" or "test"."""

    def of_part(self, part: str, image: Image.Image, where: str) -> NDArray[np.uint8]:
        """RGB image to uint8 of the part's shape. where: names it in errors. Raises DataError."""


@dataclass(frozen=True, slots=True)
class Preparation:
    """Sides and decoder of a task's images. All are resized to `train_size` and cut to a square; test images are its centre.

    test_size: side of test images.
    train_size: side of training images, at least `test_size`.
    decoder: makes pixels of stored images.
    """

    test_size: int
    train_size: int
    decoder: Decoder = AS_STORED

    @property
    def options(self) -> Mapping[str, object]:
        """All of it, as JSON, for the key of the cache."""
        found: dict[str, object] = {"image_size": self.test_size}
        if self.train_size != self.test_size:
            found["train_size"] = self.train_size
        if self.decoder != AS_STORED:
            found["decoder"] = asdict(self.decoder)
        return found

    def shape(self, part: str) -> tuple[int, int, int]:
        """(3, S, S), S the side of the part, "train" or "test"."""
        side = self.train_size if part == "train" else self.test_size
        return (3, side, side)

    def of_part(self, part: str, image: Image.Image, where: str) -> NDArray[np.uint8]:
        """RGB image to uint8 (3, S, S), S the side of the part. where: names it in errors. Raises DataError if it is too long."""
        _, height, width = self.shape(part)
        return centre(resize_and_crop(image, where, self.train_size), (height, width))


@dataclass(frozen=True, slots=True)
class Untouched:
    """Images of one shape that are taken as they are.

    image_shape: (C, H, W) of all of them; C is 3, or 1 for grey images.
    """

    image_shape: tuple[int, int, int]
    decoder: Decoder = AS_STORED

    @property
    def options(self) -> Mapping[str, object]:
        """All of it, as JSON, for the key of the cache."""
        return {"untouched": list(self.image_shape)}

    def shape(self, part: str) -> tuple[int, int, int]:
        """That of all images."""
        return self.image_shape

    def of_part(self, part: str, image: Image.Image, where: str) -> NDArray[np.uint8]:
        """RGB image to uint8 (C, H, W). where: names it in errors. Raises DataError for another size, or colours if C is 1."""
        channels, height, width = self.image_shape
        if image.size != (width, height):
            raise DataError(f"{where}: is {image.width}x{image.height}, expected {width}x{height}")
        pixels = np.asarray(image).transpose(2, 0, 1)
        if channels == 1 and (pixels != pixels[:1]).any():
            raise DataError(f"{where}: is coloured, expected a grey image")
        return pixels[:channels]


def resize_and_crop(image: Image.Image, where: str, size: int) -> NDArray[np.uint8]:
    """RGB image to uint8 (3, size, size): shorter side to `size` (bilinear, antialiased), then the centre.

    where: names the image in errors.
    Raises DataError for an image so long that it would not fit into memory.
    """
    shorter = min(image.size)
    width, height = (size * side // shorter for side in image.size)
    if width * height > max(LARGEST, LONGEST * size * size):
        raise DataError(
            f"{where}: is {image.width}x{image.height}, too long to be resized to a shorter side of {size}; crop it first"
        )
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (width - size) // 2, (height - size) // 2
    return np.asarray(image.crop((left, top, left + size, top + size))).transpose(2, 0, 1)
