"""Published runs: they count as stored, hold what the run held, and no failed run becomes one."""

from __future__ import annotations

from pathlib import Path

import pytest

from results import load, publishing
from tests.benchmark import plugin_methods
from tests.benchmark.running.stored import files, only, runs, table
from tests.tiny import TINY, run_tiny


def test_force_ignores_a_published_run(tmp_path: Path) -> None:
    run_tiny(tmp_path)
    folders = ["--results", str(tmp_path / "runs"), "--published", str(tmp_path / "published")]
    assert publishing.main(["tiny", *folders]) == 0
    before = only(tmp_path).directory.stat().st_ino
    assert run_tiny(tmp_path, options={"force": True}) == 0
    assert only(tmp_path).directory.stat().st_ino != before


def test_what_a_row_needs_costs_what_it_cost_here_and_not_what_a_published_record_says(tmp_path: Path) -> None:
    methods = ["single_task_at", plugin_methods.write(tmp_path, plugin_methods.NEEDS_GOALS)]
    assert run_tiny(tmp_path, methods) == 0
    folders = ["--results", str(tmp_path / "runs"), "--published", str(tmp_path / "published")]
    assert publishing.main(["tiny", *folders]) == 0
    (tmp_path / "runs").rename(tmp_path / "elsewhere")
    assert run_tiny(tmp_path, methods[1:], options={"force": True}) == 0
    found = {run.label: run.facts.set_index("name")["value"] for run in runs(tmp_path)}
    needed = found.pop("single_task_at")
    (row,) = found.values()
    assert row["prerequisite_seconds"] == needed["train_seconds"]


def test_a_published_run_stands_on_the_board_of_a_copied_preset(tmp_path: Path) -> None:
    run_tiny(tmp_path)
    folders = ["--results", str(tmp_path / "runs"), "--published", str(tmp_path / "published")]
    assert publishing.main(["tiny", *folders]) == 0
    (tmp_path / "runs").rename(tmp_path / "elsewhere")
    assert run_tiny(tmp_path, name="copy") == 0
    (published,) = load(tmp_path / "runs", tmp_path / "published").runs
    assert published.published
    assert set(published.protocols) == {"tiny", "copy"}


def test_a_published_record_that_was_edited_counts_for_nothing(tmp_path: Path) -> None:
    run_tiny(tmp_path)
    (tmp_path / "runs").rename(tmp_path / "elsewhere")
    folders = ["--results", str(tmp_path / "elsewhere"), "--published", str(tmp_path / "published")]
    assert publishing.main(["tiny", *folders]) == 0
    (config,) = (tmp_path / "published").glob("*/*/config.json")
    config.write_text(config.read_text().replace('"epochs": ', '"epochs": 1'))
    assert run_tiny(tmp_path) == 0
    results = load(tmp_path / "runs", tmp_path / "published")
    assert [run.published for run in results.runs] == [False]
    assert [problem.path for problem in results.problems] == [config.parent]


def test_a_published_run_says_what_the_run_said_and_counts_as_done(tmp_path: Path) -> None:
    run_tiny(tmp_path)
    (tmp_path / "runs").rename(tmp_path / "elsewhere")
    folders = ["--results", str(tmp_path / "elsewhere"), "--published", str(tmp_path / "published")]
    assert publishing.main(["tiny", *folders]) == 0
    (published,) = load(tmp_path / "runs", tmp_path / "published").runs
    assert table(published).equals(table(only(tmp_path, "elsewhere")))
    assert not list(published.directory.rglob("*.safetensors"))
    before = files(tmp_path / "published")
    assert run_tiny(tmp_path) == 0
    assert runs(tmp_path) == []
    more = {**TINY["evaluation"], "final": [{"attack": "fgsm"}]}
    assert run_tiny(tmp_path, evaluation=more) == 0
    assert len(runs(tmp_path)) == 1, "a published run without checkpoints cannot be attacked again, so it is run here"
    assert files(tmp_path / "published") == before


def test_a_failed_run_is_not_published(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = plugin_methods.write(tmp_path, plugin_methods.RAISES, "not_to_publish")
    assert run_tiny(tmp_path, [path]) == 1
    folders = ["--results", str(tmp_path / "runs"), "--published", str(tmp_path / "published")]
    assert publishing.main(["tiny", *folders]) == 2
    assert "planted failure" in capsys.readouterr().err
    assert publishing.main(["tinny", *folders]) == 2
