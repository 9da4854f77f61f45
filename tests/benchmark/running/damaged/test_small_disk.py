"""Runs on a disk that is small and fills up, and on one that became read-only: real file systems, mounted for the test."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmark.cli import main
from results import load
from results.files import StoreError
from tests.benchmark.running.damaged.test_full_disk import kept
from tests.benchmark.running.stored import content, only
from tests.reports.quick_report import quick_report
from tests.tiny import run_tiny, write_preset


def mount(*words: str) -> None:
    done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"needs the right to mount a file system ({done.stderr.strip()})")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A folder that is a file system in memory, of 20 MB until somebody mounts it anew with another size."""
    if os.uname().sysname != "Linux":
        pytest.skip("needs a file system in memory as Linux has it")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=20m", "tmpfs", str(folder))
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def of_size(disk: Path, size: str) -> None:
    mount("-o", f"remount,rw,size={size}", str(disk))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, ...]:
    """The content of a run that had room."""
    folder = tmp_path_factory.mktemp("whole")
    assert run_tiny(folder) == 0
    return content(only(folder))


def run(disk: Path) -> int:
    preset = write_preset(disk.parent)
    return main(["run", "--preset", str(preset), "--results", str(disk / "runs"), "--workers", "1", "--learn-here"])


@pytest.mark.parametrize("size", ["20k", "72k", "180k"])
def test_a_run_that_fills_the_disk_says_so_and_goes_on_where_there_is_space(
    disk: Path, whole: tuple[Any, ...], capsys: pytest.CaptureFixture[str], size: str
) -> None:
    of_size(disk, size)
    assert run(disk) in (1, 2)
    shown = capsys.readouterr()
    assert "No space left on device" in shown.out + shown.err
    assert "Traceback" not in shown.out + shown.err
    before = kept(disk)
    assert run(disk) in (1, 2), "again, and nothing is harmed"
    # A line of failures may be added where a block has room for it.
    assert {path for path in before if path.suffix == ".parquet"} <= set(kept(disk))
    of_size(disk, "20m")
    assert run(disk) == 0
    assert content(only(disk)) == whole
    assert load(disk / "runs", None).problems == []


def test_a_folder_that_became_read_only_is_read_by_all_who_read_and_named_by_who_writes(
    disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(disk) == 0
    before = kept(disk)
    mount("-o", "remount,ro", str(disk))
    runs, preset, results = str(disk / "runs"), str(disk.parent / "tiny.yaml"), load(disk / "runs", None)
    for words in (["list", "runs"], ["verify", "madry_at", "--preset", preset]):
        assert main([*words, "--results", runs]) == 0, words
    assert quick_report(results, disk.parent / "out").problems == []
    capsys.readouterr()
    more = str(write_preset(disk.parent, "more", evaluation={"final": [{"attack": "fgsm"}]}))
    assert main(["run", "--preset", more, "--results", runs]) == 2
    shown = capsys.readouterr()
    (line,) = [line for line in shown.err.splitlines() if line.startswith("error: ")]
    assert str(disk) in line
    assert "Read-only file system" in line
    with pytest.raises(StoreError, match=rf"^{disk}/out.*: cannot be written \(Read-only file system\)$"):
        quick_report(results, disk / "out")
    assert kept(disk) == before
