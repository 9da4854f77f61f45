"""`tune` from end to end on the tiny preset: what it compares, what it leaves alone, and that a restart repeats nothing."""

from __future__ import annotations

import io
import re
import shlex
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from rich.console import Console

from benchmark.cli import main, make_parser
from benchmark.commands.parsing.options import run_options
from benchmark.commands.tune import command, validating
from benchmark.commands.tune.command import TuneOptions, tune
from benchmark.commands.tune.grid import points_of
from benchmark.errors import ConfigError
from benchmark.evaluating.validation import validate
from benchmark.planning.options import RunOptions
from benchmark.running.failures import JobResult
from methods.training import Validation
from results import load
from results.files import StoreError
from scenarios.base import SourceOptions
from tests.tiny import write_preset

ROWS: list[dict[str, Any]] = [
    {"method": "madry_at"},
    {"method": "single_task_at"},
    # Trains with a rate of its own, whatever the grid says. At one point `madry_at` is the same run.
    {"method": "madry_at", "label": "fixed", "recipe": {"learning_rate": 0.1}},
]
GRID = ["recipe.learning_rate=0.1,0.01"]


def help_of_tune() -> str:
    (commands,) = (action for action in make_parser()._actions if isinstance(action.choices, dict))
    return str(commands.choices["tune"].epilog)


def run_tune(
    folder: Path, grid: list[str] | None, tasks: int = 2, rows: list[dict[str, Any]] = ROWS, **options: Any
) -> tuple[int, str]:
    """The exit code and what was printed."""
    console = Console(file=io.StringIO(), width=200)
    preset = write_preset(folder, methods=rows)
    run = RunOptions(str(preset), results=folder / "runs", workers=1, **options)
    code = tune(TuneOptions(run, grid, tasks, folder / "out"), console)
    return code, console.file.getvalue()  # type: ignore[attr-defined]


def table(folder: Path) -> pd.DataFrame:
    return pd.read_csv(
        folder / "out" / "tuning" / "tables" / "tiny__tuning.csv", na_values="n/a", dtype={"recipe.learning_rate": str}
    )


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("tuned")
    code, text = run_tune(folder, GRID)
    assert code == 0
    return folder, text


def test_every_row_stands_at_every_point_and_as_the_preset_has_it(tuned: tuple[Path, str]) -> None:
    found = table(tuned[0])
    lines = list(zip(found["label"], found["recipe.learning_rate"], found["of_preset"], strict=True))
    three = [("preset", True), ("0.1", False), ("0.01", False)]
    assert lines == [
        *(("madry_at", *point) for point in three),
        *(("single_task_at", *point) for point in three),
        ("fixed", "preset", True),
        *(("mean of 2 rows", *point) for point in three),
    ]


def test_differences_are_to_the_row_as_the_preset_has_it(tuned: tuple[Path, str]) -> None:
    found = table(tuned[0])
    for _, mine in found.groupby("label"):
        own = mine[mine["of_preset"]]["validation_robust"].item()
        assert list(mine["above_preset"]) == pytest.approx(list(mine["validation_robust"] - own))
        assert mine["best"].sum() == 1
        assert mine.loc[mine["best"], "validation_robust"].item() == mine["validation_robust"].max()


def test_the_first_tasks_are_learned_and_no_test_image_is_attacked(tuned: tuple[Path, str]) -> None:
    runs = load(tuned[0] / "tuning" / "runs", published=None).runs
    # Two rows at three points; `fixed` is what `madry_at` is at one of them.
    assert len(runs) == 6
    assert all(len(run.tasks) == 2 for run in runs)
    assert all(run.evaluations.empty for run in runs)
    assert not (tuned[0] / "runs").exists() or not list((tuned[0] / "runs").iterdir())


def test_a_restart_learns_and_validates_nothing(tuned: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    before = table(tuned[0])
    monkeypatch.setattr(command, "learn", lambda *_: pytest.fail("learned again"))
    monkeypatch.setattr(validating, "validate", lambda *_: pytest.fail("validated again"))
    code, text = run_tune(tuned[0], GRID)
    assert code == 0
    assert "0 of 6 runs to learn" in text
    pd.testing.assert_frame_equal(table(tuned[0]), before)


def test_a_figure_stands_beside_the_table(tuned: tuple[Path, str]) -> None:
    folder, text = tuned
    for suffix in ("png", "svg", "pdf"):
        assert (folder / "out" / "tuning" / "figures" / f"tiny__tuning.{suffix}").stat().st_size > 0
    assert "tiny__tuning.png" in text


def test_a_point_that_is_the_preset_is_there_once(tmp_path: Path) -> None:
    preset = command.load_preset(str(write_preset(tmp_path)))
    rate = preset.file.recipe.learning_rate
    code, _ = run_tune(tmp_path, [f"recipe.learning_rate={rate},0.03"], tasks=1, rows=ROWS[:1])
    found = table(tmp_path)
    assert code == 0
    first = preset.scenario(SourceOptions()).stream().names[:1]
    runs = load(tmp_path / "tuning" / "runs", published=None).runs
    assert [tuple(run.tasks["name"]) for run in runs] == [first, first]
    assert list(zip(found["recipe.learning_rate"].astype(float), found["of_preset"], strict=True)) == [
        (rate, True),
        (0.03, False),
    ]


def test_what_is_compared_are_the_classifiers_after_the_last_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def validate(classifier: torch.nn.Module, task: Any, *_: Any) -> Validation:
        asked.append(task.name)
        right = torch.arange(len(task.validation)) % 2 == 0
        return Validation(right, right & (torch.arange(len(task.validation)) % 4 == 0))

    monkeypatch.setattr(validating, "validate", validate)
    run_tune(tmp_path, ["recipe.learning_rate=0.03"], rows=ROWS[:1])
    # Once for each task of both runs, though the learner validates each task after it too.
    assert len(asked) == 4
    assert list(table(tmp_path)["validation_clean"]) == pytest.approx([0.5, 0.5], abs=0.05)


def test_a_row_that_fails_at_a_point_is_left_out_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_last(todo: Any, *rest: Any) -> list[JobResult]:
        return [*learn(todo[:-1], *rest), JobResult(todo[-1].job.hash, ("it failed",))]

    learn = command.learn
    monkeypatch.setattr(command, "learn", without_last)
    code, text = run_tune(tmp_path, GRID, rows=ROWS[:1])
    assert code == 1
    assert "failed: madry_at at recipe.learning_rate=0.01: it failed" in text
    assert "left out: madry_at at recipe.learning_rate=0.01" in text
    assert list(table(tmp_path)["recipe.learning_rate"]) == ["preset", "0.1"]


def test_nothing_can_be_compared_if_the_preset_itself_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "learn", lambda *_: [])
    with pytest.raises(StoreError, match="nothing to compare with"):
        run_tune(tmp_path, GRID, rows=ROWS[:1])


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    code, text = run_tune(tmp_path, GRID, dry_run=True)
    assert code == 0
    assert "6 of 6 runs to learn" in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny.yaml"]


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", "--preset", "digits", "--tasks", "0", "--dry-run"]) == 2
    assert "--tasks 0" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="learning_rate"):
        run_tune(tmp_path, ["recipe.learning_rate=-1,0.1"])
    assert not (tmp_path / "tuning" / "runs").exists() or not list((tmp_path / "tuning" / "runs").iterdir())


def test_a_mistake_in_the_grid_is_told_of_the_grid(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--grid 'methods.pacnet.retrain_epochs=3': no row"):
        run_tune(tmp_path, ["methods.pacnet.retrain_epochs=3,6"])


def test_a_grid_that_changes_no_row_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"--grid: methods.single_task_at.recipe.learning_rate changes none of the rows: fixed"
    ):
        run_tune(tmp_path, ["methods.single_task_at.recipe.learning_rate=0.1,0.01"], methods=["fixed"])
    assert not (tmp_path / "tuning").exists()


def test_a_point_goes_over_what_is_set(tmp_path: Path) -> None:
    code, text = run_tune(
        tmp_path,
        ["recipe.learning_rate=0.1,0.03"],
        rows=ROWS[:1],
        overrides=["recipe.learning_rate=0.03"],
        dry_run=True,
    )
    assert code == 0
    # As it is set, and at the other point.
    assert "2 of 2 runs to learn" in text


def test_all_points_are_judged_by_the_attack_of_the_preset(tmp_path: Path) -> None:
    """The attack by which epochs are kept may be varied; the comparison is under one attack all the same."""
    run_tune(tmp_path, ["recipe.selection.steps=1,20"], 1, ROWS[:1], overrides=["recipe.epochs=1"])
    (path,) = (tmp_path / "out" / "tuning" / "tables").iterdir()
    found = pd.read_csv(path, na_values="n/a")
    # With one epoch there is nothing to keep, so all points end with the same classifier.
    assert len(found) == 3
    assert found["validation_robust"].nunique() == found["validation_clean"].nunique() == 1


def test_another_attack_of_the_preset_validates_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row with a selection of its own is the same run whatever the preset's is, and is judged by the preset's."""
    mine = {"keep": "last", "steps": 3, "step_size": "eps/4", "precision": "fp32"}
    rows = [{"method": "madry_at", "recipe": {"selection": mine}}]
    judged = []
    monkeypatch.setattr(
        validating, "validate", lambda *asked: judged.append(asked[2].selection.steps) or validate(*asked)
    )
    for steps in (1, 1, 2):
        run_tune(tmp_path, ["recipe.learning_rate=0.03"], 1, rows, overrides=[f"recipe.selection.steps={steps}"])
    assert judged == [1, 1, 2, 2]


def test_classifiers_that_fail_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = iter(range(9))

    def second_fails(*given: Any) -> Validation:
        if next(asked) == 1:
            raise RuntimeError("no answer")
        return validate(*given)

    monkeypatch.setattr(validating, "validate", second_fails)
    code, text = run_tune(tmp_path, GRID, tasks=1, rows=ROWS[:1])
    assert code == 1
    assert "failed: madry_at at recipe.learning_rate=0.1: validation: RuntimeError: no answer" in text
    assert list(table(tmp_path)["recipe.learning_rate"]) == ["preset", "0.01"]


def test_nothing_is_left_to_learn_where_the_last_state_alone_is_kept(tmp_path: Path) -> None:
    for left in ("2 of 2", "0 of 2"):
        code, text = run_tune(tmp_path, ["recipe.learning_rate=0.03"], rows=ROWS[:1], overrides=["keep=last"])
        assert code == 0
        assert f"{left} runs to learn" in text


@pytest.mark.parametrize("example", re.findall(r"run_benchmark\.py (tune .+)", help_of_tune()))
def test_examples_are_grids_that_the_presets_have(example: str) -> None:
    given = make_parser().parse_args(shlex.split(example))
    preset = command._preset(run_options(given))
    for point in points_of(given.grid, preset):
        command._at_point(run_options(given), point)
