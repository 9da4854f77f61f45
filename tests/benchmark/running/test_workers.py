"""Worker processes: they store what one process stores, a killed one costs its own run a stage, and none outlives its parent."""

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
from tests.faults.kills import children, lives
from tests.tiny import run_tiny, write_preset

KILLS_ITS_WORKER = (
    plugin_methods.HEAD
    + """
    def learn(self, task, context):
        import multiprocessing, os, time
        from pathlib import Path
        mark = Path({mark!r})
        if task.id == 1 and not mark.exists():
            mark.write_text(str(os.getpid()))
            os.kill(multiprocessing.parent_process().pid, 9)
            time.sleep(3600)
        super().learn(task, context)
"""
)


def test_two_workers_one_of_which_is_killed_store_what_one_process_stores(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    path = plugin_methods.write(tmp_path, KILLS_ITS_WORKER.format(mark=str(mark)), "kills")
    assert run_tiny(tmp_path, [path, "madry_at"], results="two", workers=2) == 0
    assert not lives(int(mark.read_text())), "what the worker started ended with it"
    assert run_tiny(tmp_path, [path, "madry_at"]) == 0
    one, two = ({run.hash: run for run in runs(tmp_path, name)} for name in ("runs", "two"))
    assert len(one) == 2
    assert one.keys() == two.keys()
    assert all(table(one[key]).equals(table(two[key])) for key in one)
    assert not any(run.failures for run in two.values())


def test_a_run_whose_learning_is_killed_again_and_again_fails_alone_and_says_so(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = plugin_methods.write(tmp_path, plugin_methods.KILLS_ITSELF, "killed")
    assert run_tiny(tmp_path, [path, "madry_at"], workers=2, options={"retries": 1}) == 1
    failures = {run.label: [failure["message"] for failure in run.failures] for run in runs(tmp_path)}
    assert failures["madry_at"] == []
    assert len(failures["killed"]) == 2, "it was tried once more"
    assert "process was killed" in failures["killed"][0]
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 143)])
def test_workers_and_what_they_started_end_with_their_command(tmp_path: Path, sent: signal.Signals, code: int) -> None:
    preset = write_preset(tmp_path, recipe={"epochs": 2000})
    command = [sys.executable, "run_benchmark.py", "run", "--preset", str(preset), "--workers", "1"]
    process = subprocess.Popen(
        [*command, "--results", str(tmp_path / "runs")],
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: any((tmp_path / "runs").glob("*/running")))
    (held,) = (tmp_path / "runs").glob("*/running")
    worker = json.loads(held.read_text())["pid"]
    assert worker != process.pid
    wait_for(lambda: bool(children(worker)))
    pids = [worker, *children(worker)]
    os.kill(process.pid, sent)
    _, said = process.communicate()
    assert process.returncode == code
    assert "Traceback" not in said
    wait_for(lambda: not any(lives(pid) for pid in pids))
    if sent == signal.SIGTERM:
        assert not held.exists(), "it was put in order"
        assert said == "stopped; the same command goes on from the last finished stage\n"


def wait_for(condition: Callable[[], bool], seconds: float = 600) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
