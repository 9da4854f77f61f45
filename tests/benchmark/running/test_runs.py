"""Runs: nothing is done twice, and only missing cells are attacked."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.planning.options import RunOptions
from benchmark.running.preset_run import prepare
from tests.benchmark import plugin_methods
from tests.benchmark.running.stored import CELL, files, only, runs, table
from tests.tiny import TINY, run_tiny, write_preset


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
    # The new attack's images are judged afresh too, and it takes time.
    rewritten = ("cost.parquet", "verdicts.json", "afresh.parquet", "seconds.parquet")
    untouched = {name: value for name, value in before.items() if not name.endswith(rewritten)}
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


def test_force_sets_the_old_run_aside_and_measures_anew(tmp_path: Path) -> None:
    run_tiny(tmp_path)
    old = files(only(tmp_path).directory)
    assert run_tiny(tmp_path, options={"force": True}) == 0
    (kept,) = (tmp_path / "runs" / ".set-aside").iterdir()
    assert files(kept) == old
    assert only(tmp_path).predictions is not None


def test_force_takes_no_evaluations_from_a_row_that_was_not_chosen(tmp_path: Path) -> None:
    methods = ["single_task_at", plugin_methods.write(tmp_path, plugin_methods.NEEDS_GOALS)]
    assert run_tiny(tmp_path, methods) == 0
    before = {run.label: files(run.directory) for run in runs(tmp_path)}
    assert run_tiny(tmp_path, methods[1:], options={"force": True}) == 0
    after = {run.label: files(run.directory) for run in runs(tmp_path)}
    tables = ("predictions/", "evaluations/", "facts/")
    kept, made = (
        {label: {path: at for path, at in found.items() if path.startswith(tables)} for label, found in each.items()}
        for each in (before, after)
    )
    assert kept["single_task_at"] == made["single_task_at"]
    (other,) = kept.keys() - {"single_task_at"}
    assert kept[other] != made[other]


def test_a_dry_run_starts_nothing(tmp_path: Path) -> None:
    assert run_tiny(tmp_path, options={"dry_run": True}) == 0
    assert not (tmp_path / "runs").exists()


def test_a_classifier_that_changes_outside_its_stored_tensors_is_attacked_again(tmp_path: Path) -> None:
    path = plugin_methods.write(tmp_path, plugin_methods.FORGETS_OUTSIDE_ITS_TENSORS, "sly")
    assert run_tiny(tmp_path, [path]) == 0
    frame = table(only(tmp_path)).query("attack == 'clean' and task == 0")
    right = (frame["label"] == frame["predicted"]).groupby(frame["after_task"]).mean()
    assert right[1] == pytest.approx(1 - right[0], abs=0.05), "what was forgotten is seen"


def test_classifiers_that_the_state_does_not_hold_are_not_attacked(tmp_path: Path) -> None:
    path = plugin_methods.write(tmp_path, plugin_methods.KEEPS_NO_STATE, "stateless")
    assert run_tiny(tmp_path, [path]) == 1
    (failure,) = {entry["message"] for entry in only(tmp_path).failures}
    assert "last" in failure
    assert only(tmp_path).predictions.empty


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


def test_what_was_not_kept_and_must_be_learned_again_is_planned_and_done(tmp_path: Path) -> None:
    kept = {"keep": "last", "scenario": {"tasks": 3}}
    preset = RunOptions(
        str(write_preset(tmp_path, **kept)), results=tmp_path / "runs", published=tmp_path / "published"
    )
    assert run_tiny(tmp_path, **kept) == 0
    assert [item.turns for item in prepare(preset).plan()] == [0]
    before = table(only(tmp_path))
    for name in ("predictions", "evaluations"):
        for path in (only(tmp_path).directory / name).glob("*.001.*.parquet"):
            path.unlink()
    # The second task again, and the first one before it, from nothing.
    assert [item.turns for item in prepare(preset).plan()] == [2]
    assert run_tiny(tmp_path, **kept) == 0
    assert table(only(tmp_path)).equals(before)
    assert [item.turns for item in prepare(preset).plan()] == [0]


def test_a_prerequisite_is_run_once_shared_and_counted_in_the_cost(tmp_path: Path) -> None:
    path = plugin_methods.write(tmp_path, plugin_methods.NEEDS_GOALS, "goal_driven")
    assert run_tiny(tmp_path, [path, "single_task_at"]) == 0
    by_label = {run.label: run for run in runs(tmp_path)}
    assert set(by_label) == {"goal_driven", "single_task_at"}
    facts = by_label["goal_driven"].facts.set_index(["name", "task"])["value"].to_dict()
    goals = by_label["single_task_at"].facts.query("phase == 'harness'").set_index(["name", "task"])["value"].to_dict()
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
