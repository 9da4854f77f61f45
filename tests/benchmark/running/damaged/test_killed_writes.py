"""A process that is killed inside any write harms nothing: the same command goes on, to what an uninterrupted run stores."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from results import load, merged
from results.files import PARTIAL_SUFFIX
from tests.benchmark.running.stored import content, only
from tests.tiny import SHORT, TINY, run_tiny

KILLED = 137
PLACES = [
    "config.json",
    "tasks.parquet",
    "running",
    "checkpoints/task-000.stage-",
    "checkpoints/blobs/",
    "checkpoints/task-001.json",
    "training/task-000",
    "facts/task-001",
    "facts/probes",
    "facts/afresh",
    "facts/unforgetting",
    "facts/cost",
    "handed_over/",
    "adversarial/",
    "predictions/",
    "evaluations/",
    "merged/predictions",
    "verdicts.json",
]
"""Beginnings of the paths, in a run, of every kind of file that a run writes."""


def go(folder: Path, results: str = "runs") -> int:
    """A run of a method that stores stages and proves that it forgets nothing, with its adversarial images kept."""
    row = {"method": "packnet", "settings": SHORT["packnet"]}
    return run_tiny(
        folder, rows=[row], results=results, keep="all", evaluation={**TINY["evaluation"], "keep_images": True}
    )


def killed(work: Callable[[], object], place: str, half: bool) -> int:
    """Do the work in a process that is killed where a file takes its place; return its exit code.

    place: beginning of the file's path in the run.
    half: True if only half of the file is written then; False if it has just taken its place.
    """
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    replace = os.replace

    def stop(source: Any, target: Any) -> None:
        if f"/{place}" not in str(target):
            return replace(source, target)
        if half:
            os.truncate(source, os.path.getsize(source) // 2)
        else:
            replace(source, target)
        os._exit(KILLED)

    try:
        os.replace = stop  # type: ignore[assignment]
        work()
    finally:
        os._exit(0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, ...]:
    """The content of a run that nobody interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    assert go(folder) == 0
    return content(only(folder))


@pytest.mark.parametrize("half", [True, False], ids=["half", "just written"])
@pytest.mark.parametrize("place", PLACES)
def test_a_run_that_was_killed_inside_a_write_goes_on(
    tmp_path: Path, whole: tuple[Any, ...], place: str, half: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merged, "FEWEST", 1)
    assert killed(lambda: go(tmp_path), place, half) == KILLED
    assert go(tmp_path) == 0
    assert content(only(tmp_path)) == whole
    assert load(tmp_path / "runs", None).problems == []
    (directory,) = (tmp_path / "runs").glob("[0-9a-f]*")
    assert {path.parent.name for path in directory.rglob(f"*{PARTIAL_SUFFIX}")} <= {"set-aside"}
    assert (directory / "verdicts.json").exists()
    assert not (directory / "running").exists()
    assert not (directory / "handed_over").exists()
