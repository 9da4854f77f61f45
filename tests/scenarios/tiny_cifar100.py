"""Small CIFAR-100-like data sets, written by the tests in each of the three layouts (not itself a test)."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from scenarios.base import Scenario
from scenarios.cifar100_superclasses import Cifar100Superclasses
from scenarios.parts.cifar100.classes import COARSE_NAMES, COARSE_OF_FINE, FINE_NAMES, SUPERCLASS_OF
from scenarios.parts.labels import Counts
from scenarios.split_cifar100 import SplitCifar100

TINY = Counts(train=10, test=2)

MakeScenario = Callable[..., Scenario]
"""make_scenario(**settings), for each scenario in turn."""


class TinyCifar100(Cifar100Superclasses):
    """The real scenario with other expected counts."""

    counts = TINY


class TinySplitCifar100(SplitCifar100):
    """As `TinyCifar100`, of another stream."""

    counts = TINY


@dataclass
class Rows:
    """One part: images uint8 (N, 32, 32, 3) and fine labels (N,)."""

    images: np.ndarray
    fine: np.ndarray

    def shuffled(self, seed: int) -> Rows:
        order = np.random.default_rng(seed).permutation(len(self.fine))
        return Rows(self.images[order], self.fine[order])


def made_up(train: int, test: int, seed: int = 0) -> dict[str, Rows]:
    rng = np.random.default_rng(seed)
    parts = {}
    for part, count in (("train", train), ("test", test)):
        fine = np.repeat(np.arange(100), count)
        parts[part] = Rows(rng.integers(0, 256, (len(fine), 32, 32, 3), dtype=np.uint8), fine)
    return parts


def encoded(image: np.ndarray, kind: str = "PNG") -> bytes:
    stream = BytesIO()
    Image.fromarray(image).save(stream, kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {}))
    return stream.getvalue()


class Python2Pickler(pickle._Pickler):
    """Writes strings and bytes as Python 2 wrote `str`, and numpy's old module name, as in the published files."""

    dispatch: ClassVar[Any] = dict(pickle._Pickler.dispatch)

    def _python2_string(self, text: str | bytes) -> None:
        raw = text.encode("latin1") if isinstance(text, str) else text
        self.write(b"T" + struct.pack("<i", len(raw)) + raw)

    dispatch[str] = dispatch[bytes] = _python2_string


def dump(content: object, file: Path, python2: bool) -> None:
    if not python2:
        file.write_bytes(pickle.dumps(content))
        return
    stream = BytesIO()
    Python2Pickler(stream, protocol=2).dump(content)
    file.write_bytes(stream.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))


def write_pickles(parts: dict[str, Rows], folder: Path, python2: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for part, rows in parts.items():
        content = {
            "data": rows.images.transpose(0, 3, 1, 2).reshape(len(rows.fine), 3072).copy(),
            "fine_labels": [int(label) for label in rows.fine],
            "coarse_labels": [int(COARSE_OF_FINE[label]) for label in rows.fine],
            "filenames": [f"{i}.png" for i in range(len(rows.fine))],
            "batch_label": f"{part}ing batch 1 of 1",
        }
        dump(content, folder / part, python2)
    names = {"fine_label_names": list(FINE_NAMES), "coarse_label_names": list(COARSE_NAMES)}
    dump(names, folder / "meta", python2)
    return folder


def write_shard(file: Path, contents: Sequence[bytes], fine: np.ndarray, coarse: np.ndarray | None = None) -> None:
    img = [{"bytes": content, "path": f"{i}.png"} for i, content in enumerate(contents)]
    img_type = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = {
        "img": pa.array(img, img_type),
        "fine_label": fine,
        "coarse_label": COARSE_OF_FINE[fine] if coarse is None else coarse,
    }
    pq.write_table(pa.table(columns), file, row_group_size=64)


def write_parquet(parts: dict[str, Rows], folder: Path, shards: int = 2, kind: str = "PNG") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for part, rows in parts.items():
        for i, index in enumerate(np.array_split(np.arange(len(rows.fine)), shards)):
            contents = [encoded(image, kind) for image in rows.images[index]]
            write_shard(folder / f"{part}-{i:05d}-of-{shards:05d}.parquet", contents, rows.fine[index])
    return folder


def write_tree(parts: dict[str, Rows], folder: Path) -> Path:
    for part, rows in parts.items():
        for i, (image, label) in enumerate(zip(rows.images, rows.fine, strict=True)):
            name = FINE_NAMES[label]
            place = folder / part / SUPERCLASS_OF[name] / name
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{i}.png").write_bytes(encoded(image))
    return folder
