"""Every test has its own cache folder and no data set by default; scenarios that need data get small made-up ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scenarios.base import SourceOptions
from scenarios.digits import Digits
from scenarios.fine_grained import FineGrained
from scenarios.image_folder import ImageFolder
from scenarios.parquet import Parquet
from tests.scenarios.pictures import write_parquet_set
from tests.scenarios.tiny_cifar100 import (
    TINY,
    MakeScenario,
    Rows,
    TinyCifar100,
    TinySplitCifar100,
    made_up,
    write_parquet,
)
from tests.scenarios.tiny_small_images import (
    TinySplitCifar10,
    TinySplitFashionMnist,
    drawn,
    write_batches,
    write_idx,
)


@pytest.fixture(autouse=True)
def private_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTINUAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CONTINUAL_DATA", raising=False)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


@pytest.fixture(scope="session")
def tiny_parts() -> dict[str, Rows]:
    return made_up(TINY.train, TINY.test)


@pytest.fixture(scope="session")
def tiny_parquet(tmp_path_factory: pytest.TempPathFactory, tiny_parts: dict[str, Rows]) -> Path:
    return write_parquet(tiny_parts, tmp_path_factory.mktemp("tiny") / "cifar100")


@pytest.fixture(scope="session")
def picture_folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tasks of pictures in several formats and sizes."""
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for task, classes in (("birds", ("owl", "crow", "finch")), ("cars", ("van", "bus"))):
        for part, count in (("train", 10), ("test", 3)):
            for name in classes:
                folder = root / task / part / name
                folder.mkdir(parents=True)
                for i in range(count):
                    size = (int(rng.integers(12, 30)), int(rng.integers(12, 30)), 3)
                    image = Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8))
                    image.save(folder / f"{i}{('.png', '.jpg', '.JPEG', '.webp')[i % 4]}")
    return root


@pytest.fixture(scope="session")
def parquet_folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two data sets in parquet files, of four and of six classes."""
    root = tmp_path_factory.mktemp("parquet")
    write_parquet_set(root / "birds", 4)
    write_parquet_set(root / "cars", 6, seed=1, image="img", raw=True, names=list("fedcba"))
    return root


@pytest.fixture(scope="session")
def tiny_batches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_batches(drawn(TinySplitCifar10.images), tmp_path_factory.mktemp("tiny") / "cifar-10-batches-py")


@pytest.fixture(scope="session")
def tiny_idx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_idx(drawn(TinySplitFashionMnist.images), tmp_path_factory.mktemp("tiny") / "raw")


_FOLDERS = {"image_folder": (ImageFolder, "picture_folders"), "parquet": (Parquet, "parquet_folders")}
_SPLITS = {
    "split_cifar10": (TinySplitCifar10, "tiny_batches"),
    "split_cifar100": (TinySplitCifar100, "tiny_parquet"),
    "split_fashion_mnist": (TinySplitFashionMnist, "tiny_idx"),
}


@pytest.fixture(params=["digits", "cifar100_superclasses", "fine_grained", *_FOLDERS, *_SPLITS])
def make_scenario(request: pytest.FixtureRequest) -> MakeScenario:
    """make_scenario(**settings): each scenario in turn, on small data."""
    if request.param == "digits":
        return lambda **settings: Digits(Digits.Settings(**settings))
    if request.param == "cifar100_superclasses":
        source = SourceOptions(request.getfixturevalue("tiny_parquet"))
        return lambda **settings: TinyCifar100(TinyCifar100.Settings(**{"tasks": 4, **settings}), source)
    if request.param == "fine_grained":
        trees, files = (request.getfixturevalue(name) for name in ("picture_folders", "parquet_folders"))
        data_sets = [str(trees / "birds"), {"folder": str(files / "cars"), "name": "cars"}]
        given = {"data_sets": data_sets, "image_size": 8, "train_size": 10}
        return lambda **settings: FineGrained(FineGrained.Settings(**{**given, **settings}))
    if request.param in _SPLITS:
        split, place = _SPLITS[request.param]
        source = SourceOptions(request.getfixturevalue(place))
        return lambda **settings: split(split.Settings(**{"tasks": 4, **settings}), source)
    kind, place = _FOLDERS[request.param]
    source = SourceOptions(request.getfixturevalue(place))
    return lambda **settings: kind(kind.Settings(**{"folders": ["birds", "cars"], "image_size": 8, **settings}), source)
