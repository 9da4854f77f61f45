"""Parts that a report cannot use are made again by the next run, or it says why not. Nothing is deleted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from benchmark.commands.run import run
from benchmark.planning.options import RunOptions
from results import Run, load
from tests.benchmark.running.stored import only, table
from tests.tiny import SHORT, run_tiny

PACKNET = {"method": "packnet", "settings": SHORT["packnet"]}
"""A method that claims to forget nothing, so that a proof is among its facts."""


def problems(folder: Path) -> list[str]:
    """The parts that reports cannot use, by table and name."""
    stored = only(folder)
    for name in ("tasks", "evaluations", "predictions", "facts", "training"):
        getattr(stored, name)
    return [f"{problem.path.parent.name}/{problem.path.name}" for problem in stored.problems]


def content(stored: Run) -> tuple[list[str], list[str]]:
    """Facts and epochs, without what a clock says."""
    facts = stored.facts[stored.facts["phase"] != "seconds"].drop(columns="value").to_csv(index=False).splitlines()
    return sorted(facts), sorted(stored.training.drop(columns="seconds").to_csv(index=False).splitlines())


@pytest.mark.parametrize("damage", [b"", b"PAR1 is how it begins", b"words of another program\n" * 9])
def test_facts_and_epochs_that_are_unreadable_are_made_again(tmp_path: Path, damage: bytes) -> None:
    run_tiny(tmp_path)
    before, predictions = content(only(tmp_path)), table(only(tmp_path))
    directory = only(tmp_path).directory
    parts = ["facts/task-000", "training/task-001", "facts/probes", "facts/cost"]
    for part in parts:
        (directory / f"{part}.parquet").write_bytes(damage)
    assert sorted(problems(tmp_path)) == sorted(f"{part}.parquet" for part in parts)
    assert run_tiny(tmp_path) == 0
    assert problems(tmp_path) == []
    assert content(only(tmp_path)) == before
    assert table(only(tmp_path)).equals(predictions), "what was evaluated stays"
    assert sorted(path.read_bytes() for path in directory.glob("set-aside/*")) == [damage] * len(parts)
    written = {path: path.stat().st_mtime_ns for path in directory.glob("*/*.parquet")}
    assert run_tiny(tmp_path) == 0
    assert {path: path.stat().st_mtime_ns for path in directory.glob("*/*.parquet")} == written, "nothing is left to do"


def test_every_file_of_facts_that_is_lost_is_made_again(tmp_path: Path) -> None:
    assert run_tiny(tmp_path, ["packnet"], rows=[PACKNET], keep="all") == 0
    before, predictions = content(only(tmp_path)), table(only(tmp_path))
    parts = sorted(only(tmp_path).directory.glob("facts/*.parquet"))
    assert {path.stem for path in parts} >= {"task-000", "probes", "cost", "afresh", "unforgetting"}
    for path in parts:
        path.unlink()
        assert run_tiny(tmp_path, ["packnet"], rows=[PACKNET], keep="all") == 0
        assert content(only(tmp_path)) == before, path.name
    assert table(only(tmp_path)).equals(predictions), "what was evaluated stays"
    written = {path: path.stat().st_mtime_ns for path in only(tmp_path).directory.glob("*/*.parquet")}
    assert run_tiny(tmp_path, ["packnet"], rows=[PACKNET], keep="all") == 0
    assert {path: path.stat().st_mtime_ns for path in written} == written, "nothing is left to do"


def test_facts_of_a_task_whose_checkpoint_was_not_kept_are_told_and_the_run_stays_complete(tmp_path: Path) -> None:
    run_tiny(tmp_path, keep="last")
    shown = _shown(tmp_path, "facts/task-000.parquet")
    assert "the facts of task 0 are not made again: its checkpoint" in shown
    assert "--force learns the run anew" in shown
    assert "Nothing to do" in _shown(tmp_path)


def test_facts_of_a_run_without_checkpoints_are_told_every_time(tmp_path: Path) -> None:
    run_tiny(tmp_path)
    (only(tmp_path).directory / "checkpoints").rename(tmp_path / "elsewhere")
    for _ in range(2):
        shown = _shown(tmp_path, "facts/cost.parquet")
        assert "not made again: " in shown
        assert "facts/cost.parquet" in shown
        assert "no checkpoint is here" in shown


def _shown(folder: Path, damaged: str | None = None) -> str:
    """All that `run` prints, after a part was damaged."""
    if damaged:
        (only(folder).directory / damaged).write_bytes(b"")
    console = Console(record=True, quiet=False, width=400, file=(folder / "shown").open("a"))
    options = RunOptions(str(folder / "tiny.yaml"), results=folder / "runs", published=folder / "published", workers=1)
    assert run(options, console) == 0
    return console.export_text()


def test_folders_where_files_belong_are_moved_away(tmp_path: Path) -> None:
    run_tiny(tmp_path)
    before, directory = content(only(tmp_path)), only(tmp_path).directory
    blob = sorted((directory / "checkpoints" / "blobs").iterdir())[0].relative_to(directory)
    names = ["tasks.parquet", "verdicts.json", "failures.jsonl", "facts/cost.parquet", "running", str(blob)]
    for name in names:
        (directory / name).unlink(missing_ok=True)
        (directory / name).mkdir()
    (unreadable,) = only(tmp_path).failures
    assert unreadable["message"] == "failures.jsonl is not readable (Is a directory)"
    assert run_tiny(tmp_path) == 0
    assert not [name for name in names if (directory / name).is_dir()]
    assert (content(only(tmp_path)), len(only(tmp_path).tasks), only(tmp_path).failures) == (before, 2, [])
    assert json.loads((directory / "verdicts.json").read_text())["tiny"]["verdict"]


def test_a_folder_where_verdicts_belong_costs_a_complete_run_nothing(tmp_path: Path) -> None:
    run_tiny(tmp_path)
    path = only(tmp_path).directory / "verdicts.json"
    verdicts = path.read_text()
    path.unlink()
    path.mkdir()
    assert run_tiny(tmp_path) == 0
    assert path.read_text() == verdicts


@pytest.mark.parametrize("content", ["[]", '{"a": 1}', '{"tensors": {"a": 5}, "values": {}, "result": null}', "{"])
def test_a_manifest_that_is_none_costs_its_own_task_alone(tmp_path: Path, content: str) -> None:
    run_tiny(tmp_path)
    directory = only(tmp_path).directory
    (directory / "checkpoints" / "task-001.json").write_text(content)
    (directory / "checkpoints" / "._task-001.json").write_bytes(b"\x00\x05")
    (directory / "facts" / "cost.parquet").unlink()
    (directory / "evaluations" / sorted(path.name for path in directory.glob("evaluations/*"))[-1]).write_bytes(b"")
    assert run_tiny(tmp_path) == 0
    assert json.loads((directory / "checkpoints" / "task-001.json").read_text())["tensors"]
    assert load(tmp_path / "runs", None).problems == []
