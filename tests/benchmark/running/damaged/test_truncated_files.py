"""A file of a run that was cut short, of whatever kind, is noticed, set aside, and made again as it was."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from results import load, merged
from tests.benchmark.running.stored import content, only
from tests.tiny import SHORT, TINY, run_tiny

KINDS = {
    "config.json": 0.5,
    "tasks.parquet": 0.9,
    "predictions/*": 0.5,
    "evaluations/*": 0.99,
    "facts/task-*": 0.0,
    "training/*": 0.5,
    "checkpoints/task-001.json": 0.5,
    "checkpoints/blobs/*": 0.9,
    "adversarial/*": 0.5,
    "merged/predictions.parquet": 0.9,
    "verdicts.json": 0.5,
}
"""The kinds of files of a finished run, and how much of one is left."""


def go(folder: Path) -> int:
    row = {"method": "packnet", "settings": SHORT["packnet"]}
    return run_tiny(folder, rows=[row], keep="all", evaluation={**TINY["evaluation"], "keep_images": True})


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merged, "FEWEST", 1)
        assert go(folder) == 0
    return folder


@pytest.fixture(scope="module")
def whole(original: Path) -> tuple[Any, ...]:
    return content(only(original))


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_was_cut_short_is_made_again(
    tmp_path: Path, original: Path, whole: tuple[Any, ...], kind: str
) -> None:
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    path = sorted(only(tmp_path).directory.glob(kind))[0]
    full = path.read_bytes()
    path.write_bytes(full[: int(KINDS[kind] * len(full))])
    assert go(tmp_path) == 0
    results = load(tmp_path / "runs", None)
    assert content(results.runs[0]) == whole
    assert results.problems == []
