"""MNIST's format: IDX files of images and of labels, gzipped or not (http://yann.lecun.com/exdb/mnist/)."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scenarios.base import DataError, Progress, RawTask
from scenarios.parts.small_images.reader import SmallReader

_PARTS = {"train": "train", "test": "t10k"}
_KINDS = {"images": 3, "labels": 1}
"""The number of dimensions of each kind of file."""
_BYTES = 0x08
"""The third byte of a file of unsigned bytes."""
_GZIP = b"\x1f\x8b"
_MOST_DENSE = 1032
"""Bytes that one byte of gzip can stand for, at most."""
MOST_ITEMS = 10_000_000
"""Images or labels of a file, at most."""


class IdxReader(SmallReader):
    """`train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte`, `t10k-labels-idx1-ubyte`.

    Each may end in `.gz`; of two the plain one is read, as by torchvision. Whether a file is gzipped is seen by its first bytes.
    """

    kind = "IDX files"

    @classmethod
    def missing(cls, folder: Path) -> list[str] | None:
        lacking = [_stem(part, kind) for part in _PARTS for kind in _KINDS if _file(folder, part, kind) is None]
        return None if len(lacking) == len(_PARTS) * len(_KINDS) else lacking

    def read(self, progress: Progress | None = None) -> RawTask:
        images: dict[str, NDArray[np.uint8]] = {}
        numbers: dict[str, NDArray[np.int64]] = {}
        for part in _PARTS:
            file, beside = (self._there(part, kind) for kind in ("labels", "images"))
            numbers[part] = read_idx(file, "labels", ()).astype(np.int64)
            self.data.check(str(file), numbers[part], part)
            channels, height, width = self.data.image_shape
            images[part] = read_idx(beside, "images", (height, width)).reshape(-1, channels, height, width)
            if len(images[part]) != len(numbers[part]):
                raise DataError(
                    f"{beside}: holds {len(images[part])} images, but {file.name} {len(numbers[part])} labels; "
                    "they are not of one copy"
                )
        return self.data.as_task(images, numbers)

    def _there(self, part: str, kind: str) -> Path:
        file = _file(self.folder, part, kind)
        if file is None:
            raise DataError(f"{self.folder / _stem(part, kind)}: not there")
        return file


def _stem(part: str, kind: str) -> str:
    return f"{_PARTS[part]}-{kind}-idx{_KINDS[kind]}-ubyte"


def _file(folder: Path, part: str, kind: str) -> Path | None:
    """The file of one part and kind, without `.gz` if there are two; None if there is none."""
    stem = folder / _stem(part, kind)
    return next((file for file in (stem, stem.with_name(f"{stem.name}.gz")) if file.is_file()), None)


def read_idx(file: Path, kind: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The items of an IDX file, uint8 (N, *shape).

    kind: "images" or "labels".
    shape: of one item.

    Raises DataError, one line, for a file of the other kind, of other sizes, truncated, damaged or too long.
    """
    try:
        with file.open("rb") as start:
            zipped = start.read(2) == _GZIP
        with gzip.open(file) if zipped else file.open("rb") as stream:
            count = _count(stream.read(4 * (2 + len(shape))), file, kind, shape)
            expected = count * int(np.prod(shape, dtype=np.int64))
            # What the file cannot hold is not asked for: whoever reads makes room for it first.
            room = file.stat().st_size * (_MOST_DENSE if zipped else 1)
            # One byte more than there should be: a file that is too long shows, and gzip's checksum is compared at the end.
            content = stream.read(min(expected + 1, room))
    except (OSError, EOFError, zlib.error) as error:
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise DataError(f"{file}: cannot be read, truncated or damaged ({reason})") from error
    if len(content) != expected:
        found = f"{len(content)} bytes, truncated" if len(content) < expected else "more than that"
        raise DataError(f"{file}: its header names {count} {kind}, {expected} bytes, but it holds {found}")
    return np.frombuffer(content, np.uint8).reshape(count, *shape)


def _count(header: bytes, file: Path, kind: str, shape: tuple[int, ...]) -> int:
    """The number of items by a file's header. Raises DataError."""
    dimensions = _KINDS[kind]
    magic = header[:4]
    if magic[:3] == bytes((0, 0, _BYTES)) and len(magic) == 4:
        held = next((other for other, number in _KINDS.items() if magic[3] == number), f"{magic[3]} dimensions")
        if held != kind:
            swapped = "; are the files of images and labels swapped?" if held in _KINDS else ""
            raise DataError(f"{file}: is an IDX file of {held}, expected {kind}{swapped}")
    else:
        raise DataError(
            f"{file}: not an IDX file of bytes: it begins with {magic.hex(' ') or 'nothing'}, "
            f"expected {bytes((0, 0, _BYTES, dimensions)).hex(' ')}"
        )
    sizes = np.frombuffer(header[4 : 4 * (len(header) // 4)], ">u4").tolist()
    if len(sizes) != dimensions:
        raise DataError(f"{file}: ends within its header, truncated")
    if tuple(sizes[1:]) != shape:
        raise DataError(
            f"{file}: holds {kind} of {'x'.join(map(str, sizes[1:]))}, expected {'x'.join(map(str, shape))}"
        )
    if sizes[0] > MOST_ITEMS:
        raise DataError(f"{file}: its header names {sizes[0]} {kind}, more than the {MOST_ITEMS} that are read")
    return int(sizes[0])
