"""Interrupted runs: a kill costs the current stage only, and torn files are set aside and made again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest

from benchmark.learning import context
from benchmark.planning.jobs import Job
from benchmark.running import execution
from results.schema import COSTS
from tests.benchmark import plugin_methods
from tests.benchmark.running.stored import CELL, only, runs, table
from tests.conftest import REPOSITORY
from tests.tiny import TINY, run_tiny, write_preset


def test_a_killed_run_goes_on_and_ends_with_the_predictions_of_an_uninterrupted_one(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"scenario": {"tasks": 3}, "recipe": {"epochs": 3}}
    assert run_tiny(tmp_path, results="whole", **changes) == 0
    preset = write_preset(tmp_path, **changes)
    command = [sys.executable, "run_benchmark.py", "run", "--preset", str(preset), "--results", str(tmp_path / "runs")]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "runs").glob("*/checkpoints/task-001.json")):
        assert process.poll() is None, "ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not list((tmp_path / "runs").glob("*/checkpoints/task-002.json")), "killed too late to show anything"
    assert run_tiny(tmp_path, **changes) == 0
    assert table(only(tmp_path)).equals(table(only(tmp_path, "whole")))
    assert (
        only(tmp_path).training.drop(columns="seconds").equals(only(tmp_path, "whole").training.drop(columns="seconds"))
    )


@pytest.mark.parametrize(
    ("storing_is_dear", "again"), [(False, ["second 1"]), (True, ["first 1", "second 1"])], ids=["stored", "too dear"]
)
def test_a_run_stopped_inside_a_task_goes_on_from_the_last_stage_that_was_worth_storing(
    storing_is_dear: bool, again: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if storing_is_dear:
        monkeypatch.setattr(context, "CHEAP_SECONDS", -1)
        monkeypatch.setattr(context, "MOST_SHARE", -1)
    log, stop = tmp_path / "log", tmp_path / "stop"
    path = plugin_methods.write(tmp_path, plugin_methods.STAGES.format(log=str(log), stop=str(stop)), "staged")
    assert run_tiny(tmp_path, [path], results="whole") == 0
    whole = log.read_text()
    log.unlink()
    stop.touch()
    with pytest.raises(KeyboardInterrupt):
        run_tiny(tmp_path, [path], options={"learn_here": True})
    stop.unlink()
    assert run_tiny(tmp_path, [path], options={"learn_here": True}) == 0
    assert whole.split("\n")[:4] == ["first 0", "second 0", "first 1", "second 1"]
    assert log.read_text().split("\n")[:-1] == ["first 0", "second 0", "first 1", "second 1", *again]
    assert table(only(tmp_path)).equals(table(only(tmp_path, "whole")))
    assert [path.name for path in only(tmp_path).directory.glob("checkpoints/*stage*")] == [], "inner stages are tidied"


def test_a_needed_run_that_is_killed_before_its_end_costs_what_it_took_and_is_finished_by_the_next_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge, rows = execution.judge_afresh, [{"method": "cmat"}]

    def killed(job: Job, *others: Any) -> None:
        if job.plugin.name == "single_task_at":
            raise BrokenProcessPool
        judge(job, *others)

    def cost(label: str, name: str) -> float:
        (run,) = (run for run in runs(tmp_path) if run.label == label)
        facts = run.facts
        return float(facts[(facts["phase"] == COSTS) & (facts["name"] == name)]["value"].sum())

    with monkeypatch.context() as patch:
        patch.setattr(execution, "judge_afresh", killed)
        assert run_tiny(tmp_path, rows=rows) == 1
    assert cost("single_task_at", "train_seconds") == 0
    # Nobody waits for it any more.
    assert run_tiny(tmp_path, rows=rows) == 0
    assert cost("cmat", "prerequisite_seconds") == cost("single_task_at", "train_seconds") > 0


def test_a_torn_part_is_set_aside_and_measured_again(tmp_path: Path) -> None:
    run_tiny(tmp_path)
    before = table(only(tmp_path))
    part = sorted(only(tmp_path).directory.glob("predictions/*"))[0]
    part.write_bytes(part.read_bytes()[:50])
    assert run_tiny(tmp_path) == 0
    assert table(only(tmp_path)).equals(before)
    assert len(list(only(tmp_path).directory.glob("set-aside/*"))) == 1


@pytest.mark.parametrize("spoil", [lambda text: text[:14], lambda text: text.replace('"epochs": ', '"epochs": 1')])
def test_a_configuration_that_is_broken_or_was_edited_sets_the_run_aside_and_it_is_run_again(
    tmp_path: Path, spoil: Callable[[str], str]
) -> None:
    run_tiny(tmp_path)
    before, directory = table(only(tmp_path)), only(tmp_path).directory
    config = directory / "config.json"
    config.write_text(spoil(config.read_text()))
    assert run_tiny(tmp_path) == 0
    assert table(only(tmp_path)).equals(before)
    (kept,) = (tmp_path / "runs" / ".set-aside").iterdir()
    assert len(list(kept.glob("predictions/*"))) == len(list(directory.glob("predictions/*")))


def test_what_a_kill_left_half_written_is_set_aside_by_name(tmp_path: Path) -> None:
    run_tiny(tmp_path)
    directory = only(tmp_path).directory
    (directory / "predictions" / ".x.parquet.abc.partial").write_bytes(b"half")
    more = {**TINY["evaluation"], "final": [{"attack": "fgsm"}]}
    assert run_tiny(tmp_path, evaluation=more) == 0
    (kept,) = directory.glob("set-aside/*")
    assert kept.read_bytes() == b"half"


def test_a_torn_checkpoint_is_set_aside_and_its_task_learned_again(tmp_path: Path) -> None:
    run_tiny(tmp_path)
    before = table(only(tmp_path))
    last = only(tmp_path).directory / "checkpoints" / "task-001.json"
    blob = sorted(json.loads(last.read_text())["tensors"].values())[0]
    (only(tmp_path).directory / "checkpoints" / "blobs" / f"{blob}.safetensors").write_bytes(b"torn")
    more = {**TINY["evaluation"], "final": [{"attack": "fgsm"}]}
    assert run_tiny(tmp_path, evaluation=more) == 0
    merged = table(only(tmp_path)).merge(before, on=CELL)
    assert len(merged) == len(before)
    assert (merged["margin_x"] == merged["margin_y"]).all()


def test_a_damaged_table_of_tasks_is_repaired(tmp_path: Path) -> None:
    run_tiny(tmp_path)
    path = only(tmp_path).directory / "tasks.parquet"
    whole = path.read_bytes()
    path.write_bytes(b"")
    assert run_tiny(tmp_path) == 0
    assert path.read_bytes() == whole
