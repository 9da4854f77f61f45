"""The real images, where a copy lies beside the repository."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from scenarios.base import SourceOptions, fingerprint_of_tasks
from scenarios.cifar100_superclasses import Cifar100Superclasses
from scenarios.parts.cifar100.classes import FINE_NAMES
from scenarios.parts.cifar100.published import FINGERPRINTS
from scenarios.parts.decoding import AS_STORED
from scenarios.parts.labels import PARTS
from scenarios.split_cifar100 import SplitCifar100
from tests.scenarios.tiny_cifar100 import TINY, Rows, TinyCifar100, write_parquet, write_pickles, write_tree

REAL = Path(__file__).parents[2] / ".." / "shared" / "data" / "cifar100"

pytestmark = pytest.mark.skipif(
    not any(REAL.glob("train-*.parquet")), reason="no copy of CIFAR-100 in ../shared/data/cifar100"
)

# Of all 20 tasks in their own order with the canonical split: the same on every machine and from every layout.
FINGERPRINT = "39c0c39d06a3de4108cb89cf48985b093c7908f3727fe9bd2b104f19351b29f0"


def test_the_complete_data_set_has_its_known_counts_constants_and_fingerprint() -> None:
    scenario = Cifar100Superclasses(Cifar100Superclasses.Settings(), SourceOptions(REAL))
    tasks = scenario.load()
    assert len(tasks) == 20
    for task in tasks:
        assert task.train.labels.bincount().tolist() == [400] * 5
        assert task.validation.labels.bincount().tolist() == [100] * 5
        assert task.test.labels.bincount().tolist() == [100] * 5
    pixels = torch.cat([part.images for task in tasks for part in (task.train, task.validation)])
    for channel in range(3):
        values = pixels[:, channel].double() / 255
        assert values.mean().item() == pytest.approx(Cifar100Superclasses.mean[channel], abs=5e-5)
        assert values.std().item() == pytest.approx(Cifar100Superclasses.std[channel], abs=5e-5)
    assert fingerprint_of_tasks(tasks) == FINGERPRINT
    raw = scenario.raw_tasks([task.name for task in tasks])
    assert {task.name: task.fingerprint() for task in raw} == FINGERPRINTS
    assert [task.warnings for task in tasks if task.warnings] == []


def test_another_stream_of_the_same_images_is_known_as_published_too() -> None:
    scenario = SplitCifar100(SplitCifar100.Settings(classes_per_task=5, tasks=2), SourceOptions(REAL))
    tasks = scenario.load()
    assert [task.classes for task in tasks] == [tuple(FINE_NAMES[:5]), tuple(FINE_NAMES[5:10])]
    assert [task.warnings for task in tasks] == [(), ()]
    assert all(task.published for task in scenario.raw_tasks([task.name for task in tasks]))
    assert [task.train.labels.bincount().tolist() for task in tasks] == [[400] * 5] * 2


def test_all_layouts_of_real_images_agree(tmp_path: Path) -> None:
    parts = {}
    for part in PARTS:
        shard = sorted(REAL.glob(f"{part}-*.parquet"))[0]
        fine = pq.read_table(shard, columns=["fine_label"])["fine_label"].to_numpy()
        rows = np.sort(np.concatenate([np.flatnonzero(fine == label)[: TINY.of(part)] for label in range(100)]))
        contents = pq.read_table(shard, columns=["img"])["img"].take(rows).to_pylist()
        images = np.stack([np.asarray(AS_STORED.decode(content["bytes"], "")) for content in contents])
        parts[part] = Rows(images, fine[rows])
    roots = [
        write_parquet(parts, tmp_path / "a"),
        write_pickles(parts, tmp_path / "b"),
        write_tree(parts, tmp_path / "c"),
    ]
    loaded = [TinyCifar100(TinyCifar100.Settings(), SourceOptions(root)).load() for root in roots]
    assert len({fingerprint_of_tasks(tasks) for tasks in loaded}) == 1
