"""CIFAR-10 as torchvision unpacks it: pickled batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scenarios.base import DataError, Progress, RawTask
from scenarios.parts.array_pickle import read_array_pickle, read_image_pickle, text_of
from scenarios.parts.small_images.reader import SmallReader

_BATCHES = {"train": tuple(f"data_batch_{number}" for number in range(1, 6)), "test": ("test_batch",)}
_NAMES = "batches.meta"


class BatchesReader(SmallReader):
    """torchvision's `cifar-10-batches-py`: `data_batch_1` to `data_batch_5`, `test_batch`, and `batches.meta` (names)."""

    kind = "cifar-10-batches-py pickles"

    @classmethod
    def missing(cls, folder: Path) -> list[str] | None:
        names = [*_BATCHES["train"], *_BATCHES["test"], _NAMES]
        lacking = [name for name in names if not (folder / name).is_file()]
        return None if len(lacking) == len(names) else lacking

    def read(self, progress: Progress | None = None) -> RawTask:
        self._check_names()
        images: dict[str, NDArray[np.uint8]] = {}
        numbers: dict[str, NDArray[np.int64]] = {}
        for part, batches in _BATCHES.items():
            read = [read_image_pickle(self.folder / name, ("labels",), self.data.image_shape) for name in batches]
            images[part] = np.concatenate([batch for batch, _ in read])
            numbers[part] = np.concatenate([labels for _, (labels,) in read])
            self.data.check(f"{self.folder}: {', '.join(batches)}", numbers[part], part)
        return self.data.as_task(images, numbers)

    def _check_names(self) -> None:
        file = self.folder / _NAMES
        names = read_array_pickle(file).get("label_names")
        if not isinstance(names, list) or tuple(map(text_of, names)) != self.data.classes:
            raise DataError(f"{file}: label_names are not {', '.join(self.data.classes)}")
