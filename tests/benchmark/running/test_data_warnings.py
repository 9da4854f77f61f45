"""Oddities of the data reach the screen of every command that loads it, a caller in Python, and the stored run."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest

from benchmark import cli
from benchmark.planning.options import RunOptions
from benchmark.planning.tasks import DataWarning
from benchmark.running.preset_run import prepare
from results import load
from results.schema import DATA
from scenarios.parts.decoded_cache import CacheWarning
from tests.scenarios.pictures import write_tree
from tests.tiny import write_preset

LINE = "task t: 1 of 5 test images is an image to learn from, such as t/test/a/x.png (a) and t/train/a/0.png (a)"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two tasks of pictures; a test image of the second is one to learn from."""
    monkeypatch.setenv("CONTINUAL_CACHE", str(tmp_path / "cache"))
    write_tree(tmp_path / "data" / "sound", seed=1)
    tree = write_tree(tmp_path / "data" / "t")
    shutil.copy(tree / "train" / "a" / "0.png", tree / "test" / "a" / "x.png")
    return tmp_path / "data"


def preset(folder: Path, **settings: Any) -> str:
    scenario = {"name": "image_folder", "folders": ["sound", "t"], "image_size": 8, "train_fraction": 1.0, **settings}
    return str(write_preset(folder, scenario=scenario))


def test_a_run_prints_and_stores_them(tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["run", "--preset", preset(tmp_path), "--data-root", str(root), "--results", str(tmp_path / "runs")]
    assert cli.main(command) == 0
    assert f"warn: {LINE}" in capsys.readouterr().out.splitlines()
    (run,) = load(tmp_path / "runs", None).runs
    facts = run.facts[run.facts["phase"] == DATA]
    assert facts[["task", "name", "text"]].values.tolist() == [[1, "warning", LINE]]
    assert str(tmp_path) not in "".join(facts["text"])


def test_sound_data_stores_nothing(tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["run", "--preset", preset(tmp_path, tasks=1), "--data-root", str(root)]
    assert cli.main([*command, "--results", str(tmp_path / "runs")]) == 0
    assert "warn" not in capsys.readouterr().out
    (run,) = load(tmp_path / "runs", None).runs
    assert DATA not in set(run.facts["phase"])


def test_in_python_they_are_warnings(tmp_path: Path, root: Path) -> None:
    options = RunOptions(preset(tmp_path), data_root=root, results=tmp_path / "runs", published=tmp_path / "none")
    with pytest.warns(DataWarning) as given:
        prepare(options)
    assert [str(warning.message) for warning in given] == [LINE]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prepare(RunOptions(preset(tmp_path, tasks=1), data_root=root, results=tmp_path / "runs"))


def test_check_tells_them_and_goes_on(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ["folders=[sound, t]", "image_size=8"]
    assert cli.main(["check", "image_folder", "--data-root", str(root), "--set", *settings]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[lines.index("ok   it loads") + 1] == f"warn {LINE}"
    assert lines[-1] == "14 requirements, 13 hold, 1 failed"
    assert (
        cli.main(["check", "image_folder", "--data-root", str(root), "--set", "folders=[sound]", "image_size=8"]) == 0
    )
    assert "warn" not in capsys.readouterr().out


def test_a_cache_that_cannot_be_used_is_one_line_of_the_same_kind(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CONTINUAL_CACHE", str(tmp_path / "file"))
    command = ["run", "--preset", preset(tmp_path, tasks=1), "--data-root", str(root), "--dry-run"]
    assert cli.main([*command, "--results", str(tmp_path / "runs")]) == 0
    captured = capsys.readouterr()
    (line,) = [line for line in captured.out.splitlines() if line.startswith("warn: ")]
    assert "decoded images cannot be kept" in line
    assert CacheWarning.__name__ not in captured.out + captured.err
