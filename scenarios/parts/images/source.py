"""The contract of a source of labelled images on disk, and the one way in which sources become tasks.

A source lists its images first, which is cheap, and hands out their encoded bytes or files when they are decoded. A reader of
another layout is another subclass of `ImageSource`; caching, sizes, names and warnings are made here for all of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from scenarios.base import DataError, Progress, RawTask
from scenarios.parts.decoded_cache import DecodedTask, load_or_decode, source_key
from scenarios.parts.decoding import Box, Tick, ahead, decode_images, ticking
from scenarios.parts.images.preparation import ToPixels
from scenarios.parts.labels import PARTS
from scenarios.placement import empty_images


@dataclass(frozen=True, slots=True)
class EncodedImages:
    """Some images of one part, not decoded.

    contents: bytes or files (N).
    places: of each, as an error names it: the whole path, and the row if there is one.
    boxes: of each, the part that is to be seen; None: the whole images.
    """

    contents: Sequence[bytes | Path]
    places: Sequence[str]
    boxes: Sequence[Box] | None = None


class ImageSource(ABC):
    """The labelled images of one task on disk, in the parts "train" and "test".

    kind: of the layout, in the key of the cache.
    name: of the task.
    folder: the folder that they lie in.
    """

    kind: ClassVar[str]

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder

    @property
    @abstractmethod
    def classes(self) -> tuple[str, ...]:
        """Names in alphabetical order, the same in both parts. Raises DataError if the parts differ or hold fewer than two."""

    @abstractmethod
    def files(self) -> list[Path]:
        """Every file that decides images or labels."""

    @property
    def options(self) -> Mapping[str, object]:
        """Everything else that decides them, as JSON."""
        return {}

    @abstractmethod
    def labels(self, part: str) -> NDArray[np.int64]:
        """The label of each image of a part, int64 (N,): its place in `classes`. Raises DataError."""

    @abstractmethod
    def names(self, part: str) -> Sequence[str]:
        """The name of each image of a part for people, in the same order, without the folders of this machine."""

    @abstractmethod
    def encoded(self, part: str) -> Iterator[EncodedImages]:
        """The images of a part in the same order, in batches of any size. Raises DataError if one cannot be read."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Lines on what was found and is not read."""
        return ()


def classes_of_both(source: ImageSource, found: Mapping[str, set[str]]) -> tuple[str, ...]:
    """The classes of a source, in alphabetical order. Raises DataError if its parts hold different ones, or fewer than two.

    found: the classes of "train" and "test".
    """
    where = f"{source.folder}: task {source.name}"
    if difference := sorted(found["train"] ^ found["test"]):
        part = "train" if difference[0] in found["train"] else "test"
        raise DataError(f"{where}: train and test must have the same classes; `{difference[0]}` is in {part} only")
    if len(found["train"]) < 2:
        raise DataError(f"{where} has {len(found['train'])} classes, expected at least 2")
    return tuple(sorted(found["train"]))


def read_sources(
    sources: Sequence[ImageSource], preparation: ToPixels, progress: Progress | None = None
) -> list[RawTask]:
    """Read each source as a task, its images uint8 (N, C, H, W), from the decoded cache if it has them.

    preparation: the shape for each part, and the way there.
    Raises DataError, one line with the place of the image.
    """
    by_name = {source.name: source for source in sources}
    keys = {
        name: source_key(source.kind, source.folder, source.files(), {**source.options, **preparation.options})
        for name, source in by_name.items()
    }

    def decode(lacking: Sequence[str]) -> dict[str, DecodedTask]:
        chosen = [by_name[name] for name in lacking]
        total = sum(len(source.labels(part)) for source in chosen for part in PARTS)
        tick = ticking(progress, "decoding images", total)
        return {source.name: _decoded(source, preparation, tick) for source in chosen}

    decoded = load_or_decode(keys, decode)
    return [
        replace(
            decoded[source.name].to_raw(source.name, source.classes),
            train_names=source.names("train"),
            test_names=source.names("test"),
            warnings=source.warnings,
        )
        for source in sources
    ]


def _decoded(source: ImageSource, preparation: ToPixels, tick: Tick) -> DecodedTask:
    train, test = (_decoded_part(source, part, preparation, tick) for part in PARTS)
    return DecodedTask(train, source.labels("train"), test, source.labels("test"))


def _decoded_part(source: ImageSource, part: str, preparation: ToPixels, tick: Tick) -> NDArray[np.uint8]:
    shape = preparation.shape(part)
    # An array of the final size, filled from the front, so that nothing is held twice.
    images, filled = empty_images((len(source.labels(part)), *shape)), 0
    for batch in ahead(source.encoded(part)):
        end = filled + len(batch.contents)
        to_array = partial(preparation.of_part, part)
        where, decoder = batch.places.__getitem__, preparation.decoder
        images[filled:end] = decode_images(batch.contents, where, to_array, shape, tick, decoder, batch.boxes)
        filled = end
    assert filled == len(images), f"{source.name}: {part} lists {len(images)} images and holds {filled}"
    return images
