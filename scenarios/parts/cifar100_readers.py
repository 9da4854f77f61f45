"""Three ways in which CIFAR-100 lies on disk, read to the same arrays: pickles, parquet shards, a tree of PNG files.

A reader checks what it reads (labels, counts, sizes) before it decodes, and decodes only the superclasses asked for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from scenarios.base import DataError
from scenarios.parts.array_pickle import read_array_pickle, text_of
from scenarios.parts.cifar100_classes import (
    COARSE_NAMES,
    COARSE_OF_FINE,
    FINE_NAMES,
    SUPERCLASS_OF,
    SUPERCLASSES,
    WITHIN_OF_FINE,
)
from scenarios.parts.data_location import visible_entries
from scenarios.parts.decoded_cache import DecodedTask
from scenarios.parts.decoding import decode_images

PARTS = ("train", "test")
IMAGE_SHAPE = (3, 32, 32)
_ROWS_PER_BATCH = 2048

Tick = Callable[[int], None]
"""Called as tick(n) whenever n more images are done."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Images per fine class that a complete data set has."""

    train: int = 500
    test: int = 100

    def of(self, part: str) -> int:
        return self.train if part == "train" else self.test


class Reader(ABC):
    """CIFAR-100 in one folder. `kind` names the layout, in messages and in cache keys."""

    kind: ClassVar[str]

    def __init__(self, folder: Path, counts: Counts) -> None:
        self.folder = folder
        self.counts = counts

    @classmethod
    @abstractmethod
    def missing(cls, folder: Path) -> list[str] | None:
        """What a complete copy of this layout lacks in `folder`; None if the folder does not look like this layout."""

    @abstractmethod
    def source_files(self, superclass: str) -> list[Path]:
        """The files that decide the images of a superclass. Raises DataError where a file is missing."""

    @abstractmethod
    def read(self, superclasses: Sequence[str], tick: Tick) -> dict[str, DecodedTask]:
        """Images uint8 (N, 3, 32, 32) and labels 0..4 of the named superclasses, in any order.

        Raises DataError if the data is truncated, damaged or not CIFAR-100.
        """


class PickleReader(Reader):
    """torchvision's `cifar-100-python`: pickled `train`, `test` (images and both labels) and `meta` (names)."""

    kind = "cifar-100-python pickles"

    @classmethod
    def missing(cls, folder: Path) -> list[str] | None:
        lacking = [name for name in (*PARTS, "meta") if not (folder / name).is_file()]
        return None if len(lacking) == 3 else lacking

    def source_files(self, superclass: str) -> list[Path]:
        return [self.folder / name for name in (*PARTS, "meta")]

    def read(self, superclasses: Sequence[str], tick: Tick) -> dict[str, DecodedTask]:
        self._check_names()
        found = {name: _Arrays.empty(self.counts) for name in superclasses}
        for part in PARTS:
            file = self.folder / part
            images, fine = self._read_part(file, part)
            coarse = COARSE_OF_FINE[fine]
            for name in superclasses:
                rows = np.flatnonzero(coarse == COARSE_NAMES.index(name))
                found[name].add(part, images[rows], WITHIN_OF_FINE[fine[rows]])
                tick(len(rows))
        return {name: arrays.finish() for name, arrays in found.items()}

    def _check_names(self) -> None:
        file = self.folder / "meta"
        content = read_array_pickle(file)
        for key, expected in (("fine_label_names", FINE_NAMES), ("coarse_label_names", COARSE_NAMES)):
            names = content.get(key)
            if not isinstance(names, list) or tuple(text_of(name) for name in names) != expected:
                raise DataError(f"{file}: {key} are not the {len(expected)} names of CIFAR-100")

    def _read_part(self, file: Path, part: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        content = read_array_pickle(file)
        for key in ("data", "fine_labels", "coarse_labels"):
            if key not in content:
                raise DataError(f"{file}: has no `{key}`; it holds {', '.join(sorted(map(str, content))) or 'nothing'}")
        fine, coarse = (_integers(content[key], f"{file}: {key}") for key in ("fine_labels", "coarse_labels"))
        _check_labels(str(file), fine, coarse)
        _check_counts(str(file), fine, self.counts.of(part))
        images = content["data"]
        if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.shape != (len(fine), 3072):
            what = f"{images.dtype} {images.shape}" if isinstance(images, np.ndarray) else type(images).__name__
            raise DataError(f"{file}: data is {what}, expected uint8 ({len(fine)}, 3072)")
        return images.reshape(-1, *IMAGE_SHAPE), fine


class ParquetReader(Reader):
    """Shards `train-*.parquet` and `test-*.parquet` in the columns of the Hugging Face hub.

    img: struct of `bytes` (an encoded image of any lossless format) and `path`; fine_label 0..99; coarse_label 0..19.
    """

    kind = "parquet shards"

    @classmethod
    def missing(cls, folder: Path) -> list[str] | None:
        lacking = [f"{part}-*.parquet" for part in PARTS if not any(folder.glob(f"{part}-*.parquet"))]
        return None if len(lacking) == 2 else lacking

    def source_files(self, superclass: str) -> list[Path]:
        return [shard for part in PARTS for shard in self._shards(part)]

    def _shards(self, part: str) -> list[Path]:
        return sorted(self.folder.glob(f"{part}-*.parquet"))

    def read(self, superclasses: Sequence[str], tick: Tick) -> dict[str, DecodedTask]:
        # All labels first: they cost milliseconds, and a wrong copy should be refused before anything is decoded.
        labels = {shard: _read_labels(shard) for part in PARTS for shard in self._shards(part)}
        for part in PARTS:
            shards = self._shards(part)
            where = f"{self.folder / part}-*.parquet ({len(shards)} shards)"
            _check_counts(where, np.concatenate([labels[shard] for shard in shards]), self.counts.of(part))

        found = {name: _Arrays.empty(self.counts) for name in superclasses}
        wanted = np.isin(COARSE_OF_FINE, [COARSE_NAMES.index(name) for name in superclasses])
        for part in PARTS:
            for shard in self._shards(part):
                self._read_shard(shard, part, labels[shard], wanted, found, tick)
        return {name: arrays.finish() for name, arrays in found.items()}

    def _read_shard(
        self,
        shard: Path,
        part: str,
        fine: NDArray[np.int64],
        wanted: NDArray[np.bool_],
        found: dict[str, _Arrays],
        tick: Tick,
    ) -> None:
        start = 0
        for encoded in _encoded_batches(shard):
            labels = fine[start : start + len(encoded)]
            rows = np.flatnonzero(wanted[labels])
            first = start  # bound here: `start` moves on

            def where(i: int, rows: NDArray[np.int64] = rows, first: int = first) -> str:
                return f"{shard}: row {first + rows[i]}"

            images = decode_images(_bytes_of(encoded, rows, where), where, _to_array, IMAGE_SHAPE, tick)
            coarse = COARSE_OF_FINE[labels[rows]]
            for index in np.unique(coarse):
                chosen = coarse == index
                found[COARSE_NAMES[index]].add(part, images[chosen], WITHIN_OF_FINE[labels[rows][chosen]])
            start += len(encoded)


class TreeReader(Reader):
    """CPG's ImageFolder tree: `{train,test}/<superclass>/<class>/*.png`."""

    kind = "tree of PNG files"

    @classmethod
    def missing(cls, folder: Path) -> list[str] | None:
        lacking = [
            f"{part}/<superclass>/<class>/*.png"
            for part in PARTS
            if not any((folder / part / name).is_dir() for name in COARSE_NAMES)
        ]
        return None if len(lacking) == 2 else lacking

    def source_files(self, superclass: str) -> list[Path]:
        return [file for part in PARTS for _, file in self._files(superclass, part)]

    def _files(self, superclass: str, part: str) -> list[tuple[int, Path]]:
        """(label within the superclass, file) of each image of one part."""
        folder = self.folder / part / superclass
        if not folder.is_dir():
            raise DataError(
                f"{folder}: does not exist; expected the {len(SUPERCLASSES[superclass])} classes of {superclass}"
            )
        there = {entry.name for entry in visible_entries(folder) if entry.is_dir()}
        for name in sorted(there - set(SUPERCLASSES[superclass])):
            home = f"{name} belongs to {SUPERCLASS_OF[name]}" if name in SUPERCLASS_OF else "not a class of CIFAR-100"
            raise DataError(f"{folder / name}: does not belong here ({home})")
        files: list[tuple[int, Path]] = []
        for label, name in enumerate(SUPERCLASSES[superclass]):
            images = sorted((folder / name).glob("[!.]*.png"))
            if len(images) != self.counts.of(part):
                raise DataError(f"{folder / name}: has {len(images)} PNG files, expected {self.counts.of(part)}")
            files += [(label, image) for image in images]
        return files

    def read(self, superclasses: Sequence[str], tick: Tick) -> dict[str, DecodedTask]:
        found = {name: _Arrays.empty(self.counts) for name in superclasses}
        for name, arrays in found.items():
            for part in PARTS:
                labels, files = zip(*self._files(name, part), strict=True)
                names = [str(file) for file in files]
                images = decode_images(files, names.__getitem__, _to_array, IMAGE_SHAPE, tick)
                arrays.add(part, images, np.array(labels, dtype=np.int64))
        return {name: arrays.finish() for name, arrays in found.items()}


READERS: tuple[type[Reader], ...] = (PickleReader, ParquetReader, TreeReader)


class _Arrays:
    """One superclass while it is read: arrays of the final size, filled from the front, so nothing is held twice."""

    def __init__(self, arrays: dict[str, tuple[NDArray[np.uint8], NDArray[np.int64]]]) -> None:
        self._arrays = arrays
        self._filled = dict.fromkeys(PARTS, 0)

    @classmethod
    def empty(cls, counts: Counts) -> _Arrays:
        sizes = {part: 5 * counts.of(part) for part in PARTS}
        return cls({p: (np.empty((n, *IMAGE_SHAPE), np.uint8), np.empty(n, np.int64)) for p, n in sizes.items()})

    def add(self, part: str, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
        start = self._filled[part]
        self._filled[part] = end = start + len(labels)
        self._arrays[part][0][start:end] = images
        self._arrays[part][1][start:end] = labels

    def finish(self) -> DecodedTask:
        # Counts are checked before anything is decoded, so this is a bug if it fails, not a user's mistake.
        assert all(self._filled[part] == len(self._arrays[part][1]) for part in PARTS)
        return DecodedTask(*self._arrays["train"], *self._arrays["test"])


def _check_labels(where: str, fine: NDArray[np.int64], coarse: NDArray[np.int64]) -> None:
    if len(fine) != len(coarse):
        raise DataError(f"{where}: has {len(fine)} fine labels but {len(coarse)} coarse labels")
    for kind, labels, count in (("fine", fine, len(FINE_NAMES)), ("coarse", coarse, len(COARSE_NAMES))):
        if (outside := np.flatnonzero((labels < 0) | (labels >= count))).size:
            raise DataError(f"{where}: row {outside[0]} has {kind} label {labels[outside[0]]}, expected 0..{count - 1}")
    if (wrong := np.flatnonzero(COARSE_OF_FINE[fine] != coarse)).size:
        row = wrong[0]
        name = FINE_NAMES[fine[row]]
        raise DataError(
            f"{where}: fine and coarse labels disagree on {wrong.size} rows; row {row} is {fine[row]} ({name}) in "
            f"{coarse[row]} ({COARSE_NAMES[coarse[row]]}), but {name} belongs to {SUPERCLASS_OF[name]}"
        )


def _check_counts(where: str, fine: NDArray[np.int64], expected: int) -> None:
    counts = np.bincount(fine, minlength=len(FINE_NAMES))
    if (wrong := np.flatnonzero(counts != expected)).size:
        others = f" ({wrong.size} classes have a wrong count)" if wrong.size > 1 else ""
        first = wrong[0]
        raise DataError(
            f"{where}: class {FINE_NAMES[first]} has {counts[first]} images, expected {expected}{others}; is a file missing?"
        )


def _to_array(image: Image.Image, where: str) -> NDArray[np.uint8]:
    if image.size != (32, 32):
        raise DataError(f"{where}: is {image.width}x{image.height}, expected 32x32")
    return np.asarray(image).transpose(2, 0, 1)


def _open_shard(shard: Path) -> pq.ParquetFile:
    return pq.ParquetFile(shard, page_checksum_verification=True)


def _read_labels(shard: Path) -> NDArray[np.int64]:
    """Fine labels of all rows, checked against the coarse ones: int64 (N,)."""
    try:
        with _open_shard(shard) as file:
            names = file.schema_arrow.names
            if lacking := [name for name in ("img", "fine_label", "coarse_label") if name not in names]:
                raise DataError(f"{shard}: has no column {lacking[0]}; it has {', '.join(names)}")
            kind = file.schema_arrow.field("img").type
            if not pa.types.is_struct(kind) or kind.get_field_index("bytes") < 0:
                raise DataError(f"{shard}: img is {kind}, expected a struct with `bytes`")
            table = file.read(columns=["fine_label", "coarse_label"])
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _damaged(shard, "parquet file", error) from error
    fine, coarse = (_integers(table[name].to_numpy(), f"{shard}: {name}") for name in ("fine_label", "coarse_label"))
    _check_labels(str(shard), fine, coarse)
    return fine


def _encoded_batches(shard: Path) -> Any:
    """The `img` column in pieces, so that memory holds one piece at a time."""
    try:
        with _open_shard(shard) as file:
            for batch in file.iter_batches(batch_size=_ROWS_PER_BATCH, columns=["img"]):
                yield batch.column("img")
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _damaged(shard, "parquet file", error) from error


def _bytes_of(column: Any, rows: NDArray[np.int64], where: Callable[[int], str]) -> list[bytes | Path]:
    encoded: list[bytes | Path] = column.field("bytes").take(pa.array(rows)).to_pylist()
    for i, content in enumerate(encoded):
        if not isinstance(content, bytes):
            raise DataError(f"{where(i)}: img holds no bytes")
    return encoded


def _integers(values: Any, where: str) -> NDArray[np.int64]:
    labels = np.asarray(values)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DataError(f"{where} are not whole numbers in a row, but {labels.dtype} {labels.shape}")
    return labels.astype(np.int64)


def _damaged(file: Path, kind: str, error: Exception) -> DataError:
    reason = (str(error).splitlines() or [type(error).__name__])[0] or type(error).__name__
    return DataError(f"{file}: not a readable {kind}, truncated or damaged ({reason})")
