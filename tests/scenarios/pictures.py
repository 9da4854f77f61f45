"""Small made-up pictures in folders and in parquet files (not itself a test)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""The type that the library `datasets` writes images in."""


def pictures(seed: int = 0, side: int = 12) -> Iterator[Image.Image]:
    """Random pictures, no two alike."""
    rng = np.random.default_rng(seed)
    while True:
        yield Image.fromarray(rng.integers(0, 256, (side, side + 3, 3), dtype=np.uint8))


def write_class(folder: Path, count: int, source: Iterator[Image.Image], suffix: str = ".png") -> None:
    """Write so many pictures into a new folder."""
    folder.mkdir(parents=True)
    for i in range(count):
        next(source).save(folder / f"{i}{suffix}")


def write_tree(
    folder: Path, test: str = "test", classes: Sequence[str] = ("a", "b"), below: str = "", seed: int = 0
) -> Path:
    """A tree of four pictures to learn from and two to test on per class, at `<part>/<class>/<below>`."""
    source = pictures(seed)
    for part, count in (("train", 4), (test, 2)):
        for name in classes:
            write_class(folder / part / name / below, count, source)
    return folder


def write_tiny_imagenet(folder: Path) -> Path:
    """The layout of TinyImageNet: boxes beside the images, labels of `val` in a file, none of `test`."""
    source = pictures()
    for name in ("n01", "n02"):
        write_class(folder / "train" / name / "images", 4, source, ".JPEG")
        (folder / "train" / name / f"{name}_boxes.txt").write_text("0.JPEG\t0\t0\t9\t9\n")
    write_class(folder / "val" / "images", 6, source, ".JPEG")
    lines = [f"{i}.JPEG\tn0{1 + i % 2}\t0\t0\t9\t9\n" for i in range(6)]
    (folder / "val" / "val_annotations.txt").write_text("".join(lines))
    write_class(folder / "test" / "images", 3, source, ".JPEG")
    return folder


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    stream = BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


def write_parquet(
    file: Path,
    labels: Sequence[Any],
    seed: int = 0,
    *,
    image: str = "image",
    label: str = "label",
    raw: bool = False,
    names: Sequence[str] | None = None,
    images: Sequence[bytes | None] | None = None,
    **columns: Sequence[Any] | pa.Array,
) -> Path:
    """A parquet file of random pictures with these labels.

    raw: True to write bytes instead of structs.
    names: of the classes, as the library `datasets` stores them.
    images: the encoded images, if not random ones.
    columns: further ones.
    """
    source = pictures(seed)
    contents = [encoded(next(source)) for _ in labels] if images is None else list(images)
    if raw:
        stored = pa.array(contents, pa.binary())
    else:
        stored = pa.array([{"bytes": content, "path": f"{i}.png"} for i, content in enumerate(contents)], IMAGE)
    table = pa.table({image: stored, label: labels, **columns})
    if names is not None:
        features = {label: {"names": list(names), "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file, row_group_size=5)
    return file


def write_parquet_set(folder: Path, classes: int = 4, seed: int = 0, **options: Any) -> Path:
    """`train-…` with six pictures and `test-…` with two of each class, numbered from 0."""
    for part, count, extra in (("train", 6, 0), ("test", 2, 1)):
        labels = [i % classes for i in range(classes * count)]
        write_parquet(folder / f"{part}-00000-of-00001.parquet", labels, 2 * seed + extra, **options)
    return folder
