"""Attacks inside a run: those that run together share their cost, each fails alone, and warnings are recorded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmark.errors import ConfigError
from results import Run, load
from tests.tiny import TINY, run_tiny


def only(folder: Path) -> Run:
    (run,) = load(folder / "runs", None).runs
    return run


def test_an_attack_that_crashes_costs_its_own_cells_and_is_forgotten_when_nobody_demands_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*arguments: object) -> None:
        raise RuntimeError("this attack is broken")

    monkeypatch.setattr("attacks.noise.Noise.run", crash)
    with_noise = {**TINY["evaluation"], "final": [{"attack": "noise"}, *TINY["evaluation"]["final"]]}
    assert run_tiny(tmp_path, evaluation=with_noise) == 1
    failed = only(tmp_path)
    assert {(failure["attack"], failure["task"]) for failure in failed.failures} == {
        ("noise linf 51/255", 0),
        ("noise linf 51/255", 1),
    }
    assert "fgsm linf 51/255" in set(failed.predictions["attack"])
    assert run_tiny(tmp_path) == 0
    assert only(tmp_path).failures == []


def test_an_attack_that_these_classes_cannot_have_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    dlr = {**TINY["evaluation"], "final": [{"attack": "pgd", "steps": 2, "step_size": "eps/4", "loss": "dlr"}]}
    with pytest.raises(ConfigError, match="loss=dlr on task 0: loss dlr needs 3 classes, the classifier has 2"):
        run_tiny(tmp_path, evaluation=dlr)
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").glob("[0-9a-f]*"))


def test_pgd_on_all_samples_and_a_longer_one_on_some_share_what_they_have_in_common(tmp_path: Path) -> None:
    final = [{"attack": "pgd", "steps": [4, 6], "step_size": "eps/4", "samples": 20}]
    assert run_tiny(tmp_path, evaluation={**TINY["evaluation"], "final": final}) == 0
    run = only(tmp_path)
    last = run.evaluations.query("after_task == 1")
    assert last.query("attack == 'pgd-2 linf 51/255 a=12.75/255'")["samples"].min() == 20  # in two parts
    for task in run.tasks.to_dict("records"):
        mine = last[(last["task"] == task["task"]) & (last["kind"] == "pgd")]
        # Six gradients for twenty images, two for the others.
        assert mine["gradient_evaluations"].sum() == 20 * 6 + (task["test"] - 20) * 2
        rows = run.predictions[(run.predictions["after_task"] == 1) & (run.predictions["task"] == task["task"])]
        counts = rows.groupby("attack", observed=True)["sample"].nunique()
        assert counts["pgd-2 linf 51/255 a=12.75/255 any"] == task["test"]
        assert counts["pgd-6 linf 51/255 a=12.75/255 any"] == 20


def test_a_strange_step_size_stands_in_the_record(tmp_path: Path) -> None:
    final = [{"attack": "pgd", "steps": 2, "step_size": [0, "3 eps"]}]
    assert run_tiny(tmp_path, evaluation={**TINY["evaluation"], "final": final}) == 0
    table = only(tmp_path).evaluations
    warned = {row["attack"]: json.loads(row["trace"]).get("warnings") for row in table.to_dict("records")}
    assert warned["pgd-2 linf 51/255 a=0/255"] == ["step size 0: the attack stays where it starts"]
    assert "above 2 eps" in warned["pgd-2 linf 51/255 a=153/255"][0]
    assert warned["pgd-2 linf 51/255 a=12.75/255"] is None
