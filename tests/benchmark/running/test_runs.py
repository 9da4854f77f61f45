"""Runs: nothing is done twice, nothing stored is harmed, a kill costs the current stage only, failures stay where they are."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from benchmark.commands.run import run
from benchmark.planning.jobs import make_jobs
from benchmark.planning.options import RunOptions
from benchmark.planning.presets import load_preset
from results import Run, load, publishing
from scenarios.base import SourceOptions
from tests.benchmark import plugin_methods
from tests.conftest import REPOSITORY
from tests.tiny import TINY, run_tiny, write_preset

CELL = ["after_task", "task", "sample", "attack"]


def runs(folder: Path, results: str = "runs") -> list[Run]:
    return load(folder / results, None).runs


def only(folder: Path, results: str = "runs") -> Run:
    (run,) = runs(folder, results)
    return run


def table(run: Run) -> pd.DataFrame:
    frame = run.predictions.astype({"attack": str, "evaluation_id": str})
    return frame.sort_values(CELL, ignore_index=True)


def files(folder: Path) -> dict[str, tuple[int, int]]:
    """Every stored file but the configuration, by what a change of it would change."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.stat().st_ino)
        for path in folder.rglob("*")
        if path.is_file() and path.name != "config.json"
    }


def test_the_same_command_again_does_nothing(tmp_path: Path) -> None:
    assert run_tiny(tmp_path) == 0
    before = files(tmp_path)
    assert run_tiny(tmp_path) == 0
    assert files(tmp_path) == before | {name: value for name, value in files(tmp_path).items() if name == "tiny.yaml"}


def test_cells_are_demanded_minus_stored(tmp_path: Path) -> None:
    run_tiny(tmp_path)
    frame = only(tmp_path).predictions
    counts = frame.groupby(["after_task", "task", "attack"], observed=True).size().to_dict()
    test = dict(zip(only(tmp_path).tasks["task"], only(tmp_path).tasks["test"], strict=True))
    pgd = "pgd-2 linf 51/255 a=12.75/255"
    expected = {
        (after, task, attack): test[task]
        for after, task in ((0, 0), (1, 0), (1, 1))
        for attack in ("clean", pgd, f"{pgd} any")
    }
    expected |= {(1, task, "fgsm linf 51/255"): 20 for task in (0, 1)}
    assert counts == expected


def test_a_new_attack_evaluates_only_itself_from_stored_checkpoints(tmp_path: Path) -> None:
    run_tiny(tmp_path)
    before, predictions = files(tmp_path / "runs"), table(only(tmp_path))
    more = {**TINY["evaluation"], "matrix": [*TINY["evaluation"]["matrix"], {"attack": "noise"}]}
    assert run_tiny(tmp_path, evaluation=more) == 0
    after = files(tmp_path / "runs")
    untouched = {name: value for name, value in before.items() if not name.endswith(("cost.parquet", "verdicts.json"))}
    assert untouched.items() <= after.items()
    new = table(only(tmp_path))
    assert set(new["attack"]) - set(predictions["attack"]) == {"noise linf 51/255"}
    assert new[new["attack"] != "noise linf 51/255"].reset_index(drop=True).equals(predictions)
    assert len(new[new["attack"] == "noise linf 51/255"].groupby(["after_task", "task"])) == 3


def test_a_larger_number_of_samples_evaluates_only_the_rest(tmp_path: Path) -> None:
    run_tiny(tmp_path)
    small = table(only(tmp_path))
    more = {**TINY["evaluation"], "final": [{"attack": "fgsm", "samples": 30}]}
    assert run_tiny(tmp_path, evaluation=more) == 0
    large = table(only(tmp_path))
    fgsm = large[large["attack"].str.startswith("fgsm")]
    assert set(fgsm.groupby("task").size()) == {30}
    assert len(large.merge(small, on=CELL)) == len(small)
    assert sorted(only(tmp_path).evaluations.query("kind == 'fgsm'")["samples"]) == [10, 10, 20, 20]


def test_an_unchanged_classifier_is_not_attacked_twice(tmp_path: Path) -> None:
    run_tiny(tmp_path, ["single_task_at"])
    run = only(tmp_path)
    matrix = run.evaluations[run.evaluations["kind"] != "fgsm"].set_index(["after_task", "task", "kind"])["reused"]
    assert matrix.to_dict() == {
        (after, task, kind): (after, task) == (1, 0)
        for after, task in ((0, 0), (1, 0), (1, 1))
        for kind in ("clean", "pgd")
    }
    frame = table(run)
    rows = [frame.query("task == 0 and after_task == @turn and not attack.str.startswith('fgsm')") for turn in (0, 1)]
    columns = ["sample", "attack", "predicted", "margin", "evaluation_id"]
    assert rows[0][columns].reset_index(drop=True).equals(rows[1][columns].reset_index(drop=True))


def test_a_sweep_of_steps_is_paid_once(tmp_path: Path) -> None:
    sweep = {"attack": "pgd", "steps": [2, 3, 5], "step_size": "eps/4", "restarts": 2}
    assert run_tiny(tmp_path, evaluation={"matrix": [sweep], "final": []}) == 0
    run = only(tmp_path)
    test = dict(zip(run.tasks["task"], run.tasks["test"], strict=True))
    paid = run.evaluations.groupby(["after_task", "task"])["gradient_evaluations"].sum()
    assert paid.to_dict() == {(after, task): 2 * 5 * test[task] for after, task in ((0, 0), (1, 0), (1, 1))}


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


def test_a_run_stopped_inside_a_task_goes_on_from_its_last_finished_stage(tmp_path: Path) -> None:
    log, stop = tmp_path / "log", tmp_path / "stop"
    path = plugin_methods.write(tmp_path, plugin_methods.STAGES.format(log=str(log), stop=str(stop)), "staged")
    assert run_tiny(tmp_path, [path], results="whole") == 0
    whole = log.read_text()
    log.unlink()
    stop.touch()
    with pytest.raises(KeyboardInterrupt):
        run_tiny(tmp_path, [path])
    stop.unlink()
    assert run_tiny(tmp_path, [path]) == 0
    assert whole.split("\n")[:4] == ["first 0", "second 0", "first 1", "second 1"]
    assert log.read_text().split("\n")[:5] == ["first 0", "second 0", "first 1", "second 1", "second 1"]
    assert table(only(tmp_path)).equals(table(only(tmp_path, "whole")))
    assert [path.name for path in only(tmp_path).directory.glob("checkpoints/*stage*")] == [], "inner stages are tidied"


def test_a_torn_part_is_set_aside_and_measured_again(tmp_path: Path) -> None:
    run_tiny(tmp_path)
    before = table(only(tmp_path))
    part = sorted(only(tmp_path).directory.glob("predictions/*"))[0]
    part.write_bytes(part.read_bytes()[:50])
    assert run_tiny(tmp_path) == 0
    assert table(only(tmp_path)).equals(before)
    assert len(list(only(tmp_path).directory.glob("set-aside/*"))) == 1


def test_a_broken_configuration_sets_the_run_aside_and_it_is_run_again(tmp_path: Path) -> None:
    run_tiny(tmp_path)
    before, directory = table(only(tmp_path)), only(tmp_path).directory
    (directory / "config.json").write_text('{"identity": ')
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


def test_force_sets_the_old_run_aside_and_measures_anew(tmp_path: Path) -> None:
    run_tiny(tmp_path)
    old = files(only(tmp_path).directory)
    assert run_tiny(tmp_path, options={"force": True}) == 0
    (kept,) = (tmp_path / "runs" / ".set-aside").iterdir()
    assert files(kept) == old
    assert only(tmp_path).predictions is not None


def test_a_dry_run_starts_nothing(tmp_path: Path) -> None:
    assert run_tiny(tmp_path, options={"dry_run": True}) == 0
    assert not (tmp_path / "runs").exists()


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


def test_a_killed_worker_costs_its_own_run_only_and_says_so(tmp_path: Path) -> None:
    path = plugin_methods.write(tmp_path, plugin_methods.KILLS_ITSELF, "killed")
    command = [sys.executable, "run_benchmark.py", "run", "--preset", str(write_preset(tmp_path)), "--workers", "2"]
    command += ["--results", str(tmp_path / "runs"), "--methods", path, "madry_at", "standard"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    failures = {run.label: [failure["message"] for failure in run.failures] for run in runs(tmp_path)}
    assert failures["madry_at"] == failures["standard"] == []
    assert "process was killed" in failures["killed"][0]
    assert "Traceback" not in done.stderr


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


def test_one_cause_is_one_line_however_many_cells_it_costs(tmp_path: Path) -> None:
    path = plugin_methods.write(tmp_path, plugin_methods.BAD_CLASSIFIER, "bad_everywhere")
    out = io.StringIO()
    options = RunOptions(str(write_preset(tmp_path)), [path], results=tmp_path / "runs", published=tmp_path, workers=1)
    assert run(options, Console(file=out, width=200)) == 1
    (line,) = [line for line in out.getvalue().splitlines() if line.startswith("failed:")]
    assert "and 7 more" in line


def test_a_classifier_that_changes_outside_its_stored_tensors_is_attacked_again(tmp_path: Path) -> None:
    path = plugin_methods.write(tmp_path, plugin_methods.FORGETS_OUTSIDE_ITS_TENSORS, "sly")
    assert run_tiny(tmp_path, [path]) == 1, "its state alone does not give its classifiers back"
    frame = table(only(tmp_path)).query("attack == 'clean' and task == 0")
    right = (frame["label"] == frame["predicted"]).groupby(frame["after_task"]).mean()
    assert right[1] == pytest.approx(1 - right[0], abs=0.05), "what was forgotten is seen"


def test_a_damaged_table_of_tasks_is_repaired(tmp_path: Path) -> None:
    run_tiny(tmp_path)
    path = only(tmp_path).directory / "tasks.parquet"
    whole = path.read_bytes()
    path.write_bytes(b"")
    assert run_tiny(tmp_path) == 0
    assert path.read_bytes() == whole


def test_a_new_final_attack_on_the_last_checkpoint_alone_trains_nothing(tmp_path: Path) -> None:
    assert run_tiny(tmp_path, keep="last") == 0
    checkpoint = only(tmp_path).directory / "checkpoints" / "task-001.json"
    before = checkpoint.stat().st_mtime_ns
    assert not checkpoint.with_name("task-000.json").exists()
    more = {**TINY["evaluation"], "final": [{"attack": "fgsm"}]}
    assert run_tiny(tmp_path, keep="last", evaluation=more) == 0
    assert checkpoint.stat().st_mtime_ns == before
    more = {**TINY["evaluation"], "matrix": [{"attack": "clean"}, {"attack": "noise"}]}
    assert run_tiny(tmp_path, keep="last", evaluation=more) == 0, "what was not kept is learned again"
    assert len(only(tmp_path).predictions.query("attack == 'noise linf 51/255' and after_task == 0")) > 0


def test_force_ignores_a_published_run(tmp_path: Path) -> None:
    run_tiny(tmp_path)
    folders = ["--results", str(tmp_path / "runs"), "--published", str(tmp_path / "published")]
    assert publishing.main(["tiny", *folders]) == 0
    before = only(tmp_path).directory.stat().st_ino
    assert run_tiny(tmp_path, options={"force": True}) == 0
    assert only(tmp_path).directory.stat().st_ino != before


def test_a_published_run_stands_on_the_board_of_a_copied_preset(tmp_path: Path) -> None:
    run_tiny(tmp_path)
    folders = ["--results", str(tmp_path / "runs"), "--published", str(tmp_path / "published")]
    assert publishing.main(["tiny", *folders]) == 0
    (tmp_path / "runs").rename(tmp_path / "elsewhere")
    assert run_tiny(tmp_path, name="copy") == 0
    (published,) = load(tmp_path / "runs", tmp_path / "published").runs
    assert published.published
    assert set(published.protocols) == {"tiny", "copy"}


def test_step_sizes_written_in_two_ways_are_one_recipe(tmp_path: Path) -> None:
    run_tiny(tmp_path)
    run_tiny(tmp_path, recipe={"attack": {"step_size": "1/20"}})
    assert len(runs(tmp_path)) == 1


def test_a_method_that_diverges_fails(tmp_path: Path) -> None:
    path = plugin_methods.write(tmp_path, plugin_methods.DIVERGES, "diverging")
    assert run_tiny(tmp_path, [path]) == 1
    assert "nan in epoch 1" in only(tmp_path).failures[0]["message"]


def test_a_classifier_that_breaks_its_contract_is_a_failure_never_a_number(tmp_path: Path) -> None:
    path = plugin_methods.write(tmp_path, plugin_methods.BAD_CLASSIFIER, "bad")
    assert run_tiny(tmp_path, [path]) == 1
    assert "not in eval mode" in only(tmp_path).failures[0]["message"]
    assert only(tmp_path).predictions.empty


def test_a_prerequisite_is_run_once_shared_and_counted_in_the_cost(tmp_path: Path) -> None:
    path = plugin_methods.write(tmp_path, plugin_methods.NEEDS_GOALS, "goal_driven")
    assert run_tiny(tmp_path, [path, "single_task_at"]) == 0
    by_label = {run.label: run for run in runs(tmp_path)}
    assert set(by_label) == {"goal_driven", "single_task_at"}
    facts = by_label["goal_driven"].facts.set_index(["name", "task"])["value"]
    goals = by_label["single_task_at"].facts.query("phase == 'harness'").set_index(["name", "task"])["value"]
    cost = by_label["single_task_at"].facts.set_index("name")["value"]["train_seconds"]
    for task in (0, 1):
        assert facts[("goal", task)] == goals[("validation_robust", task)]
        assert facts[("reached", task)] == goals[("validation_robust", task)], "its classifiers are the ones it had"
    assert facts[("prerequisite_seconds", -1)] == cost > 0
    assert by_label["single_task_at"].protocols["tiny"]["row_of_preset"] is True


def test_a_prerequisite_that_no_row_asks_for_is_no_row(tmp_path: Path) -> None:
    path = plugin_methods.write(tmp_path, plugin_methods.NEEDS_GOALS, "goal_driven_too")
    assert run_tiny(tmp_path, [path]) == 0
    rows = {run.method: run.protocols["tiny"]["row_of_preset"] for run in runs(tmp_path)}
    assert rows == {"goal_driven_too": True, "single_task_at": False}


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


def test_two_workers_store_what_one_stores(tmp_path: Path) -> None:
    preset = write_preset(tmp_path, seeds=[0, 1])
    command = [sys.executable, "run_benchmark.py", "run", "--preset", str(preset), "--workers", "2"]
    command += ["--results", str(tmp_path / "two"), "--methods", "madry_at"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert run_tiny(tmp_path, seeds=[0, 1]) == 0
    one, two = ({run.hash: table(run) for run in runs(tmp_path, name)} for name in ("runs", "two"))
    assert one.keys() == two.keys()
    assert all(one[key].equals(two[key]) for key in one)
