"""Failures: each stays with its own cells and is told in one line."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from benchmark.commands.run import run
from benchmark.planning.options import RunOptions
from tests.benchmark import plugin_methods
from tests.benchmark.running.stored import only, runs
from tests.tiny import run_tiny, write_preset


def test_a_method_that_raises_fails_its_own_cell_only(tmp_path: Path) -> None:
    path = plugin_methods.write(tmp_path, plugin_methods.RAISES, "raising")
    assert run_tiny(tmp_path, [path, "madry_at"]) == 1
    by_label = {run.label: run for run in runs(tmp_path)}
    assert by_label["madry_at"].failures == []
    assert set(by_label["madry_at"].predictions["after_task"]) == {0, 1}
    (failure,) = by_label["raising"].failures
    assert failure["message"] == "RuntimeError: planted failure"
    assert "Traceback" in failure["traceback"]
    assert set(by_label["raising"].predictions["after_task"]) == {0}, "what was measured before stays"


def test_a_run_that_succeeds_after_a_failure_has_not_failed(tmp_path: Path) -> None:
    log, stop = tmp_path / "log", tmp_path / "stop"
    source = plugin_methods.STAGES.format(log=str(log), stop=str(stop)).replace("KeyboardInterrupt", "RuntimeError")
    path = plugin_methods.write(tmp_path, source, "flaky")
    stop.touch()
    assert run_tiny(tmp_path, [path]) == 1
    assert len(only(tmp_path).failures) == 1
    stop.unlink()
    assert run_tiny(tmp_path, [path]) == 0
    assert only(tmp_path).failures == []


def test_a_method_that_exits_fails_like_one_that_raises(tmp_path: Path) -> None:
    path = plugin_methods.write(tmp_path, plugin_methods.EXITS, "exiting")
    assert run_tiny(tmp_path, [path, "madry_at"]) == 1
    assert {run.label: len(run.failures) for run in runs(tmp_path)} == {"exiting": 1, "madry_at": 0}


def test_one_cause_is_one_line_however_many_cells_it_costs(tmp_path: Path) -> None:
    path = plugin_methods.write(tmp_path, plugin_methods.BAD_CLASSIFIER, "bad_everywhere")
    out = io.StringIO()
    options = RunOptions(str(write_preset(tmp_path)), [path], results=tmp_path / "runs", published=tmp_path, workers=1)
    assert run(options, Console(file=out, width=200)) == 1
    (line,) = [line for line in out.getvalue().splitlines() if line.startswith("failed:")]
    assert "and 7 more" in line


def test_a_method_that_diverges_fails(tmp_path: Path) -> None:
    path = plugin_methods.write(tmp_path, plugin_methods.DIVERGES, "diverging")
    assert run_tiny(tmp_path, [path]) == 1
    assert "nan in epoch 1" in only(tmp_path).failures[0]["message"]


def test_a_classifier_that_breaks_its_contract_is_a_failure_never_a_number(tmp_path: Path) -> None:
    path = plugin_methods.write(tmp_path, plugin_methods.BAD_CLASSIFIER, "bad")
    assert run_tiny(tmp_path, [path]) == 1
    assert "not in eval mode" in only(tmp_path).failures[0]["message"]
    assert only(tmp_path).predictions.empty
