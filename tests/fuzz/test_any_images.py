"""Images of a stranger are read, or refused in a line: files of every format, parquet, trees of folders, IDX files, pickles."""

from __future__ import annotations

import gzip
import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st
from PIL import Image

from scenarios.base import DataError, SourceOptions
from scenarios.image_folder import ImageFolder
from scenarios.parquet import Parquet
from scenarios.parts.array_pickle import read_array_pickle
from scenarios.parts.decoding import Decoder
from scenarios.parts.images.annotations import read_annotations
from scenarios.parts.images.preparation import resize_and_crop
from scenarios.parts.small_images.idx import read_idx
from tests.fuzz.exploring import explore, told
from tests.fuzz.near import ODD_TEXT, near_bytes
from tests.fuzz.tables import near_files
from tests.scenarios.pictures import write_parquet_set, write_tree
from tests.scenarios.tiny_cifar100 import Python2Pickler
from tests.scenarios.tiny_small_images import FEW, TinySplitFashionMnist, drawn, idx, write_idx

PIXELS = np.random.default_rng(0).integers(0, 256, (9, 11, 3), dtype=np.uint8)
SAVED: dict[str, tuple[str, dict[str, Any]]] = {
    "PNG": ("RGB", {}),
    "PNG of a palette": ("P", {}),
    "PNG of 16 bits": ("I;16", {}),
    "JPEG": ("RGB", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"}),
    "JPEG of four colours": ("CMYK", {}),
    "WEBP": ("RGB", {}),
    "BMP": ("RGB", {}),
    "TIFF": ("RGB", {"compression": "tiff_lzw"}),
    "TIFF as it is": ("RGB", {}),
    "PPM": ("RGB", {}),
    "GIF": ("P", {}),
}
"""Files of every format that is read: the mode of the image, and how it is saved."""


def saved(name: str) -> bytes:
    mode, options = SAVED[name]
    image = (
        Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 200)
        if mode == "I;16"
        else Image.fromarray(PIXELS).convert(mode)
    )
    stream = io.BytesIO()
    image.save(stream, name.split()[0], **options)
    return stream.getvalue()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SAVED)
def test_any_image_file(name: str) -> None:
    def check(content: bytes) -> None:
        for decoder in (Decoder(), Decoder(upright=True, sixteen_bit=True)):
            with told(DataError):
                image = decoder.decode(content, "here")
                assert image.mode == "RGB"
                assert resize_and_crop(image, "here", 4).shape == (3, 4, 4)

    explore(check, near_bytes(saved(name)), 40)


@pytest.fixture(autouse=True)
def _no_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing is kept: a cache of what was decoded would answer for files that are no longer there."""
    (tmp_path / "cache").write_text("a file where a folder should be")
    monkeypatch.setenv("CONTINUAL_CACHE", str(tmp_path / "cache"))


@pytest.mark.filterwarnings("ignore")
def test_any_parquet_file_of_images(tmp_path: Path) -> None:
    folder = write_parquet_set(tmp_path / "birds", names=["a", "b", "c", "d"])
    file = sorted(folder.glob("train*"))[0]
    settings = Parquet.Settings(folders=["birds"], image_size=8)

    def check(content: bytes) -> None:
        file.write_bytes(content)
        with told(DataError):
            assert len(Parquet(settings, SourceOptions(tmp_path)).load()) == 1

    explore(check, near_files(pq.read_table(file, partitioning=None)), 50)


def _name_of_file(content: bytes) -> str:
    return os.fsdecode(content.replace(b"/", b"_").replace(b"\0", b"_")[:100])


NAMES = (
    (
        st.one_of(st.sampled_from(ODD_TEXT), st.text(min_size=1, max_size=8)).map(
            lambda text: text.encode("utf-8", "replace")
        )
        | st.binary(min_size=1, max_size=8)
    )
    .map(_name_of_file)
    .filter(lambda name: name.strip(".") != "")
)
"""Names that a file may have, some of which are no text."""


@pytest.mark.filterwarnings("ignore")
def test_any_names_in_a_tree_of_images(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "birds")
    settings = ImageFolder.Settings(folders=["birds"], image_size=8)

    def check(case: tuple[str, str, bool]) -> None:
        place, name, of_class = case
        old, new = (tree / place, tree / place / "0.png") if not of_class else (tree / place, tree / place)
        source = new if not of_class else old
        target = source.with_name(name if of_class else f"{name}.png")
        if target.exists():
            return
        source.rename(target)
        try:
            with told(DataError):
                (task,) = ImageFolder(settings, SourceOptions(tmp_path)).load()
                task.test_fingerprint.encode()
        finally:
            target.rename(source)

    places = st.sampled_from(["train/a", "test/a", "train/b"])
    explore(check, st.tuples(places, NAMES, st.booleans()), 40)


@pytest.mark.parametrize("separator", ["\t", ",", " "])
def test_any_file_of_labels(tmp_path: Path, separator: str) -> None:
    lines = "".join(f"{i}.JPEG{separator}n0{i % 3}{separator}0\n" for i in range(12))

    def check(content: bytes) -> None:
        (tmp_path / "labels.txt").write_bytes(content)
        with told(DataError):
            assert read_annotations(tmp_path / "labels.txt")

    explore(check, near_bytes(lines.encode()), 40)


@pytest.mark.parametrize("zipped", [False, True])
def test_any_idx_file(tmp_path: Path, zipped: bool) -> None:
    array = np.random.default_rng(0).integers(0, 10, (30, 5, 5))
    contents = {"images": idx(array), "labels": idx(array[:, 0, 0])}
    cases = st.one_of(
        *(
            near_bytes(gzip.compress(c, 1) if zipped else c).map(lambda new, kind=kind: (kind, new))
            for kind, c in contents.items()
        )
    )

    def check(case: tuple[str, bytes]) -> None:
        kind, content = case
        (tmp_path / "file").write_bytes(content)
        with told(DataError):
            assert read_idx(tmp_path / "file", kind, (5, 5) if kind == "images" else ()).dtype == np.uint8

    explore(check, cases, 60)


def test_any_copy_of_idx_files(tmp_path: Path) -> None:
    folder = write_idx(drawn(TinySplitFashionMnist.images), tmp_path / "raw")
    files = sorted(folder.iterdir())
    cases = st.one_of(
        *(near_bytes(file.read_bytes()).map(lambda content, file=file: (file, content)) for file in files)
    )

    def check(case: tuple[Path, bytes]) -> None:
        file, content = case
        before = file.read_bytes()
        file.write_bytes(content)
        try:
            with told(DataError):
                tasks = TinySplitFashionMnist(TinySplitFashionMnist.Settings(), SourceOptions(folder)).load()
                assert sum(len(task.test) for task in tasks) == 10 * FEW.test
        finally:
            file.write_bytes(before)

    explore(check, cases, 30)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_any_pickle(tmp_path: Path, protocol: int) -> None:
    content = {"data": PIXELS.copy(), "labels": [1, 2, 300], "names": [b"a", "b"]}
    stream = io.BytesIO()
    Python2Pickler(stream, protocol=2).dump(content) if protocol == 2 else stream.write(pickle.dumps(content, protocol))

    def check(content: bytes) -> None:
        (tmp_path / "file").write_bytes(content)
        with told(DataError):
            assert isinstance(read_array_pickle(tmp_path / "file"), dict)

    explore(check, near_bytes(stream.getvalue()), 100)
