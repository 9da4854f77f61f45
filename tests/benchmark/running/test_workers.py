"""Worker processes: they store what one process stores, a killed one costs its own run, and none outlives its parent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.benchmark import plugin_methods
from tests.benchmark.running.stored import runs, table
from tests.conftest import REPOSITORY
from tests.tiny import run_tiny, write_preset


def test_two_workers_store_what_one_stores(tmp_path: Path) -> None:
    assert run_tiny(tmp_path, seeds=[0, 1], results="two", workers=2) == 0
    assert run_tiny(tmp_path, seeds=[0, 1]) == 0
    one, two = ({run.hash: table(run) for run in runs(tmp_path, name)} for name in ("runs", "two"))
    assert len(one) == 2
    assert one.keys() == two.keys()
    assert all(one[key].equals(two[key]) for key in one)


def test_a_killed_worker_costs_its_own_run_only_and_says_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = plugin_methods.write(tmp_path, plugin_methods.KILLS_ITSELF, "killed")
    assert run_tiny(tmp_path, [path, "madry_at", "standard"], workers=2) == 1
    failures = {run.label: [failure["message"] for failure in run.failures] for run in runs(tmp_path)}
    assert failures["madry_at"] == failures["standard"] == []
    assert "process was killed" in failures["killed"][0]
    assert "Traceback" not in capfd.readouterr().err


def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    preset = write_preset(tmp_path, recipe={"epochs": 2000}, seeds=[0, 1])
    command = [sys.executable, "run_benchmark.py", "run", "--preset", str(preset), "--workers", "2"]
    process = subprocess.Popen(
        [*command, "--results", str(tmp_path / "runs")], cwd=REPOSITORY, stdout=subprocess.DEVNULL
    )
    wait_for(lambda: len(list((tmp_path / "runs").glob("*/running"))) == 2)
    holders = [json.loads(path.read_text())["pid"] for path in (tmp_path / "runs").glob("*/running")]
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in holders))


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
