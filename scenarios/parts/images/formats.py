"""The layouts in which a data set of photographs lies on disk, and the choice among them by what a folder holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from scenarios.base import DataError
from scenarios.parts.data_location import describe_folder
from scenarios.parts.images.collections import cub, flowers102, stanford_cars
from scenarios.parts.images.collections.cub import CubImages
from scenarios.parts.images.collections.flowers102 import Flowers102Images
from scenarios.parts.images.collections.stanford_cars import StanfordCarsImages
from scenarios.parts.images.parquet import Columns, looks_like_parquet, only_parquet_set
from scenarios.parts.images.source import ImageSource
from scenarios.parts.images.tree import ImageTree

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Format:
    """One layout.

    holds: the files that it consists of, for people.
    looks_like: True for a folder that holds them, or some of them.
    open: task name, folder → the images.
    boxed: task name, folder → the images cut to the boxes of their objects; None: it knows no boxes.
    """

    holds: str
    looks_like: Callable[[Path], bool]
    open: Callable[[str, Path], ImageSource]
    boxed: Callable[[str, Path], ImageSource] | None = None


def _open_parquet(name: str, folder: Path) -> ImageSource:
    return only_parquet_set(name, folder, Columns()).whole()


FORMATS = {
    "tree": Format("train/<class>/* with test/<class>/* or val", ImageTree.looks_like, ImageTree),
    "parquet": Format("train-*.parquet with test-*.parquet or validation", looks_like_parquet, _open_parquet),
    "cub": Format(cub.HOLDS, CubImages.looks_like, CubImages, partial(CubImages, crop=True)),
    "stanford_cars": Format(
        stanford_cars.HOLDS, StanfordCarsImages.looks_like, StanfordCarsImages, partial(StanfordCarsImages, crop=True)
    ),
    "flowers102": Format(flowers102.HOLDS, Flowers102Images.looks_like, Flowers102Images),
}
"""Every layout by the name that settings give it."""


def open_data_set(name: str, folder: Path, layout: str = AUTO, crop: bool = False) -> ImageSource:
    """The images of a data set as one task.

    name: of the task.
    layout: a name in `FORMATS`, or `auto`: the one that the folder looks like.
    crop: True to cut each image to the box of its object.

    Raises DataError, one line: the folder looks like no layout, like several, or `crop` is asked of one without boxes.
    """
    if layout == AUTO:
        layout = _layout_of(folder)
    found = FORMATS[layout]
    if not crop:
        return found.open(name, folder)
    if found.boxed is None:
        with_boxes = ", ".join(name for name, each in FORMATS.items() if each.boxed is not None)
        raise DataError(
            f"{folder}: task {name}: the layout {layout} has no boxes to crop to (those with boxes: {with_boxes}); "
            "leave `crop_to_box` out"
        )
    return found.boxed(name, folder)


def _layout_of(folder: Path) -> str:
    found = [name for name, each in FORMATS.items() if each.looks_like(folder)]
    if not found:
        known = "; ".join(f"{name}: {each.holds}" for name, each in FORMATS.items())
        raise DataError(f"{describe_folder(folder)}; expected one of: {known}")
    if len(found) > 1:
        raise DataError(
            f"{folder}: could be read as {' or as '.join(found)}; say which as {{folder: ..., format: {found[0]}}}"
        )
    return found[0]
