"""A data set of small images as the Hugging Face hub has it: parquet files, by the generic reader."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from scenarios.base import DataError, Progress, RawTask
from scenarios.parts.images.parquet import Columns, only_parquet_set
from scenarios.parts.images.preparation import Untouched
from scenarios.parts.images.source import read_sources
from scenarios.parts.labels import PARTS
from scenarios.parts.small_images.reader import SmallReader


class SmallParquetReader(SmallReader):
    """`train-*.parquet` and `test-*.parquet`, or folders `train` and `test` of such files.

    image or img: struct of `bytes` (an encoded image), or bytes.
    label: numbers of classes, or their names. Names are compared without case, spaces and signs.
    """

    kind = "parquet files"

    @classmethod
    def missing(cls, folder: Path) -> list[str] | None:
        lacking = [
            f"{part}-*.parquet"
            for part in PARTS
            if not any(folder.glob(f"{part}-*.parquet")) and not any((folder / part).glob("*.parquet"))
        ]
        return None if len(lacking) == len(PARTS) else lacking

    def read(self, progress: Progress | None = None) -> RawTask:
        source = only_parquet_set(self.data.name, self.folder, Columns()).whole()
        own = np.array([self._number(name) for name in source.classes])
        numbers = {part: own[source.labels(part)] for part in PARTS}
        for part in PARTS:
            # Before anything is decoded: a wrong copy should be refused at once.
            self.data.check(f"{self.folder}: {part}", numbers[part], part)
        (task,) = read_sources([source], Untouched(self.data.image_shape), progress)
        return self.data.as_task({"train": task.train_images, "test": task.test_images}, numbers)

    def _number(self, name: str) -> int:
        """The data set's own number of a class, from its name as the files have it, or from its number as text."""
        known = [_plain(each) for each in self.data.classes]
        if _plain(name) in known:
            return known.index(_plain(name))
        if name.isdecimal() and int(name) < len(known):
            return int(name)
        raise DataError(f"{self.folder}: has a class {name}; expected {', '.join(self.data.classes)}")


def _plain(name: str) -> str:
    """A class name by its letters and digits alone: the hub has `T - shirt / top` where others have `T-shirt/top`."""
    return re.sub(r"[^a-z0-9]", "", name.lower())
