"""Identities: whatever changes a result makes another run, and two ways to write the same make one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmark.planning.jobs import make_jobs
from benchmark.planning.presets import load_preset
from scenarios.base import SourceOptions
from tests.benchmark import plugin_methods
from tests.benchmark.running.stored import runs
from tests.tiny import run_tiny, write_preset


def test_a_changed_recipe_seed_or_data_is_another_run(tmp_path: Path) -> None:
    run_tiny(tmp_path)
    run_tiny(tmp_path, recipe={"learning_rate": 0.04})
    run_tiny(tmp_path, seeds=[1])
    run_tiny(tmp_path, scenario={"train_fraction": 0.5})
    run_tiny(tmp_path, methods=["standard"])
    assert len({run.hash for run in runs(tmp_path)}) == 5
    assert len({run.row for run in runs(tmp_path)}) == 4, "runs that differ in the seed alone are one row"


@pytest.mark.parametrize(
    "part",
    [
        "methods.madry_at.MadryAT.version",
        "scenarios.digits.Digits.version",
        "attacks.pgd.PGD.version",
        "methods.training.VERSION",
        "methods.backbones.VERSION",
        "scenarios.parts.augmentation.VERSION",
        "benchmark.evaluating.validation.VERSION",
    ],
)
def test_a_raised_version_of_any_part_is_another_run(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = identity(tmp_path)
    monkeypatch.setattr(part, 99)
    assert identity(tmp_path)["row"] != before["row"]


def test_a_changed_method_file_is_another_run(tmp_path: Path) -> None:
    first = plugin_methods.write(tmp_path, plugin_methods.HEAD, "written_once")
    (tmp_path / "b").mkdir()
    second = plugin_methods.write(tmp_path / "b", plugin_methods.HEAD + "# changed\n", "written_once")
    assert identity(tmp_path, first)["hash"] != identity(tmp_path, second)["hash"]


def identity(folder: Path, method: str = "madry_at") -> dict[str, Any]:
    preset = load_preset(str(write_preset(folder)), methods=[method])
    tasks = preset.scenario(SourceOptions()).load()
    return make_jobs(preset, preset.choose([method]), tasks, SourceOptions())[0].identity


def test_step_sizes_written_in_two_ways_are_one_recipe(tmp_path: Path) -> None:
    run_tiny(tmp_path)
    run_tiny(tmp_path, recipe={"attack": {"step_size": "1/20"}})
    assert len(runs(tmp_path)) == 1
