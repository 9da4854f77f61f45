"""Encoded images (bytes or files) to uint8 arrays, on a few threads, with errors that name the image."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from scenarios.base import DataError, Progress

T = TypeVar("T")

Tick = Callable[[int], None]
"""Called as tick(n) whenever n more images are done."""

Box = tuple[int, int, int, int]
"""A part of an image as it is stored: left, top, right, bottom in pixels from its upper left corner, the last two excluded."""

# Pillow converts these to RGB without loss of range. Its 16- and 32-bit modes are clipped, not scaled.
_EIGHT_BIT_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"})
# Older versions of Pillow open the 16-bit grey images of these formats as 32-bit ones.
_SIXTEEN_BITS_AS_32 = ("PNG", "PPM")
_DAMAGE = (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
# Named, because Pillow otherwise tries each of its forty formats in turn: half the time of a small image. GIF stands for files
# that bear the name of another format, as some published data sets hold them.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "PPM", "GIF")
_PER_THREAD_CALL = 64
_ORIENTATION = ExifTags.Base.Orientation


@dataclass(frozen=True, slots=True)
class Decoder:
    """Choices in decoding that change pixels.

    upright: True to turn an image as its EXIF orientation says; False to leave it as it is stored, as torchvision does.
    sixteen_bit: True to bring 16-bit grey images to 8 bits by their high byte, as Pillow does with colour; False to refuse them.
    """

    upright: bool = False
    sixteen_bit: bool = False

    def decode(self, encoded: bytes | Path, where: str, box: Box | None = None) -> Image.Image:
        """One image as RGB. Raises DataError if it is truncated, damaged or of an unknown depth, or if the box lies outside.

        encoded: its bytes, or its file.
        where: names it in errors.
        box: the part that is kept, before the image is turned; None: all of it.
        """
        try:
            with Image.open(BytesIO(encoded) if isinstance(encoded, bytes) else encoded, formats=_FORMATS) as image:
                decoded = self._rgb(image, where)  # reads the pixels, so truncation shows here
                orientation = _orientation(image) if self.upright else 1
        except UnidentifiedImageError as error:
            raise DataError(f"{where}: not a {', '.join(_FORMATS)} image, or damaged") from error
        except _DAMAGE as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise DataError(f"{where}: not a readable image ({reason})") from error
        if box is not None:
            decoded = decoded.crop(_inside(box, decoded.size, where))
        turn = _TURNS.get(orientation)
        return decoded if turn is None else decoded.transpose(turn)

    def _rgb(self, image: Image.Image, where: str) -> Image.Image:
        if image.mode in _EIGHT_BIT_MODES:
            return image.convert("RGB")
        deep = image.mode.startswith("I;16") or (image.mode == "I" and image.format in _SIXTEEN_BITS_AS_32)
        if not (deep and self.sixteen_bit):
            depth = "8 or 16" if self.sixteen_bit else "8"
            raise DataError(f"{where}: an image of mode {image.mode}; expected {depth} bits per channel")
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")


AS_STORED = Decoder()
"""The decoder of published runs."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The change that puts an image of each EXIF orientation upright."""


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation of an image whose pixels are read, 1 (upright) if it has none. Pillow turns TIFF images itself."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except (*_DAMAGE, TypeError, KeyError):
        return 1  # EXIF that cannot be read says nothing, and the pixels are whole


def _inside(box: Box, size: tuple[int, int], where: str) -> Box:
    """The part of a box that lies in an image of that (width, height). Raises DataError if that is less than half of it."""
    left, top, right, bottom = box
    inside = (max(left, 0), max(top, 0), min(right, size[0]), min(bottom, size[1]))
    width, height = max(inside[2] - inside[0], 0), max(inside[3] - inside[1], 0)
    if width * height == 0 or 2 * width * height < (right - left) * (bottom - top):
        raise DataError(
            f"{where}: its box ({left}, {top}) to ({right}, {bottom}) lies outside the image, {size[0]}x{size[1]}; "
            "correct its annotation, or leave `crop_to_box` out"
        )
    return inside


def decode_images(
    encoded: Sequence[bytes | Path],
    where: Callable[[int], str],
    convert: Callable[[Image.Image, str], NDArray[np.uint8]],
    shape: tuple[int, int, int],
    tick: Tick,
    decoder: Decoder = AS_STORED,
    boxes: Sequence[Box] | None = None,
) -> NDArray[np.uint8]:
    """Decode images in the given order: uint8 (N, *shape). Raises DataError for the first bad image.

    where: i → the name of image i in errors.
    convert: RGB image and name → uint8 of `shape`; may raise DataError.
    shape: (C, H, W) of each image.
    tick: called from this thread.
    decoder: makes each image.
    boxes: the part of each image that is kept; None: all of it.
    """
    out = np.empty((len(encoded), *shape), dtype=np.uint8)

    def fill(indices: range) -> int:
        for i in indices:
            name = where(i)
            out[i] = convert(decoder.decode(encoded[i], name, boxes[i] if boxes is not None else None), name)
        return len(indices)

    if len(encoded) <= _PER_THREAD_CALL:
        tick(fill(range(len(encoded))))
        return out
    # Pillow decodes and resizes without the interpreter's lock: large images gain from threads, small ones lose little.
    pool = ThreadPoolExecutor(max_workers=_cores())
    try:
        for done in pool.map(fill, _chunks(len(encoded), _cores())):
            tick(done)
    finally:
        pool.shutdown(cancel_futures=True)  # after a bad image, the rest need not be decoded
    return out


def ahead(batches: Iterator[T]) -> Iterator[T]:
    """The batches one by one, while a thread makes the next: reading does not wait for decoding, nor decoding for reading."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        coming = pool.submit(lambda: next(batches, None))
        while (batch := coming.result()) is not None:
            coming = pool.submit(lambda: next(batches, None))
            yield batch


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _chunks(count: int, threads: int) -> list[range]:
    """Pieces of work: several for each thread, so that none waits long for the last; at most 64 images."""
    size = max(1, min(_PER_THREAD_CALL, count // (4 * threads)))
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


def ticking(progress: Progress | None, doing: str, total: int) -> Tick:
    """A tick that adds up the images that are done, and passes the sum on.

    progress: called as progress(doing, done so far, total); None: the sum goes nowhere.
    """
    done = 0

    def tick(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(doing, done, total)

    return tick
