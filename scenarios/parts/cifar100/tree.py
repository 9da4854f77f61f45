"""CIFAR-100 as CPG has it: a tree of PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scenarios.base import DataError
from scenarios.parts.cifar100.classes import (
    COARSE_NAMES,
    SUPERCLASS_OF,
    SUPERCLASSES,
)
from scenarios.parts.cifar100.reader import (
    IMAGE_SHAPE,
    GrowingTask,
    Reader,
    to_array,
)
from scenarios.parts.data_location import visible_entries
from scenarios.parts.decoded_cache import DecodedTask
from scenarios.parts.decoding import Tick, decode_images
from scenarios.parts.labels import PARTS


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
        found = {name: GrowingTask.empty(self.counts) for name in superclasses}
        for name, arrays in found.items():
            for part in PARTS:
                labels, files = zip(*self._files(name, part), strict=True)
                names = [str(file) for file in files]
                images = decode_images(files, names.__getitem__, to_array, IMAGE_SHAPE, tick)
                arrays.add(part, images, np.array(labels, dtype=np.int64))
        return {name: arrays.finish() for name, arrays in found.items()}
