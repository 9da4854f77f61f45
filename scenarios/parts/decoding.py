"""Encoded images (bytes or files) to uint8 arrays, on a few threads, with errors that name the image."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from scenarios.base import DataError, Progress

Tick = Callable[[int], None]
"""Called as tick(n) whenever n more images are done."""

# Pillow converts these to RGB without loss of range. Its 16- and 32-bit modes are clipped, not scaled: refused instead.
_EIGHT_BIT_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"})
_DAMAGE = (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
# Named, because Pillow otherwise tries each of its forty formats in turn: half the time of a small image. GIF stands for files
# that bear the name of another format, as some published data sets hold them.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "PPM", "GIF")
_PER_THREAD_CALL = 64


def decode_image(encoded: bytes | Path, where: str) -> Image.Image:
    """One image as RGB. Raises DataError if it is truncated, damaged or not 8-bit.

    encoded: its bytes, or its file.
    where: names it in errors.
    """
    try:
        with Image.open(BytesIO(encoded) if isinstance(encoded, bytes) else encoded, formats=_FORMATS) as image:
            if image.mode not in _EIGHT_BIT_MODES:
                raise DataError(f"{where}: an image of mode {image.mode}; expected 8 bits per channel")
            return image.convert("RGB")  # reads the pixels, so truncation shows here
    except UnidentifiedImageError as error:
        raise DataError(f"{where}: not a {', '.join(_FORMATS)} image, or damaged") from error
    except _DAMAGE as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{where}: not a readable image ({reason})") from error


def decode_images(
    encoded: Sequence[bytes | Path],
    where: Callable[[int], str],
    convert: Callable[[Image.Image, str], NDArray[np.uint8]],
    shape: tuple[int, int, int],
    tick: Tick,
) -> NDArray[np.uint8]:
    """Decode images in the given order: uint8 (N, *shape). Raises DataError for the first bad image.

    where: i → the name of image i in errors.
    convert: RGB image and name → uint8 of `shape`; may raise DataError.
    shape: (C, H, W) of each image.
    tick: called from this thread.
    """
    out = np.empty((len(encoded), *shape), dtype=np.uint8)

    def fill(indices: range) -> int:
        for i in indices:
            name = where(i)
            out[i] = convert(decode_image(encoded[i], name), name)
        return len(indices)

    if len(encoded) <= _PER_THREAD_CALL:
        tick(fill(range(len(encoded))))
        return out
    # Pillow decodes and resizes without the interpreter's lock: large images gain from threads, small ones lose little.
    pool = ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1))
    try:
        for done in pool.map(fill, _chunks(len(encoded))):
            tick(done)
    finally:
        pool.shutdown(cancel_futures=True)  # after a bad image, the rest need not be decoded
    return out


def _chunks(count: int) -> list[range]:
    return [range(start, min(start + _PER_THREAD_CALL, count)) for start in range(0, count, _PER_THREAD_CALL)]


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
