"""Pre-trained adversarial training: where it starts, what it says of a start that does not fit, and what it costs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from benchmark.cli import main
from benchmark.learning.context import RunContext
from methods.backbones import MultiHead, SmallConv, initialise
from methods.pretrained_at import PretrainedAT
from results import load
from results.publishing import publish
from results.records import Run
from tests.tiny import begun, run_tiny, write_preset

PATCHES = {"name": "photo_patches", "train_fraction": 0.1}


def backbone(width: float = 0.25) -> SmallConv:
    multi = MultiHead(SmallConv((1, 8, 8), width), (2,), (0.3,), (0.4,))
    initialise(multi, torch.Generator().manual_seed(7))
    assert isinstance(multi.backbone, SmallConv)
    return multi.backbone


def saved(folder: Path, width: float = 0.25, name: str = "start.safetensors", **changes: Any) -> str:
    tensors = {key: tensor.contiguous() for key, tensor in backbone(width).state_dict().items()}
    save_file({key: tensor for key, tensor in {**tensors, **changes}.items() if tensor is not None}, folder / name)
    return str(folder / name)


def row(**settings: Any) -> dict[str, Any]:
    return {"method": "pretrained_at", "settings": settings}


def runs_of(folder: Path, method: str) -> list[Run]:
    return [run for run in load(folder / "runs", None).runs if run.method == method]


def test_it_starts_from_the_weights_of_the_file(tmp_path: Path) -> None:
    method, context, tasks = begun(tmp_path, row(checkpoint=saved(tmp_path)), recipe={"learning_rate": 1e-12})
    assert isinstance(method, PretrainedAT)
    method.learn(tasks[0].to_learn(), context)
    weights = dict(method.network.backbone.shared_weights())
    assert all(torch.allclose(weights[name], weight, atol=1e-6) for name, weight in backbone().shared_weights())


def test_later_tasks_go_on_from_the_task_before(tmp_path: Path) -> None:
    method, context, tasks = begun(tmp_path, row(checkpoint=saved(tmp_path)))
    assert isinstance(method, PretrainedAT)
    method.learn(tasks[0].to_learn(), context)
    context.recipe = context.recipe.model_copy(update={"learning_rate": 1e-12})
    before = {name: weight.clone() for name, weight in method.network.backbone.shared_weights()}
    method.learn(tasks[1].to_learn(), context)
    assert all(torch.allclose(before[n], w, atol=1e-6) for n, w in method.network.backbone.shared_weights())


def test_a_scenario_is_trained_on_first_as_a_run_of_its_own_whose_cost_counts(tmp_path: Path) -> None:
    assert run_tiny(tmp_path, rows=[row(pretrain=PATCHES)]) == 0
    (run,), (start,) = runs_of(tmp_path, "pretrained_at"), runs_of(tmp_path, "joint_at")
    assert start.identity["scenario"]["name"] == "photo_patches"
    assert run.identity["scenario"]["name"] == "digits"
    assert run.identity["prerequisites"] == [start.hash]
    costs = {r.method: r.facts[r.facts["phase"] == "cost"].set_index("name")["value"] for r in (run, start)}
    assert costs["pretrained_at"]["prerequisite_seconds"] == pytest.approx(costs["joint_at"]["train_seconds"])
    assert not any(protocol["row_of_preset"] for protocol in start.protocols.values()), "no row of any board"


def test_the_same_command_again_has_nothing_to_do_and_another_scenario_is_another_run(tmp_path: Path) -> None:
    assert run_tiny(tmp_path, rows=[row(pretrain=PATCHES)]) == 0
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*.parquet")}
    assert run_tiny(tmp_path, rows=[row(pretrain=PATCHES)]) == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*.parquet")} == written
    assert run_tiny(tmp_path, rows=[row(pretrain={**PATCHES, "train_fraction": 0.2})]) == 0
    assert len(runs_of(tmp_path, "pretrained_at")) == 2


def test_what_is_only_needed_to_learn_is_not_learned_again_once_its_row_is_there(tmp_path: Path) -> None:
    assert run_tiny(tmp_path, rows=[row(pretrain=PATCHES)]) == 0
    (start,) = runs_of(tmp_path, "joint_at")
    start.directory.rename(tmp_path / "away")
    assert run_tiny(tmp_path, rows=[row(pretrain=PATCHES)]) == 0
    assert not runs_of(tmp_path, "joint_at")


def test_what_only_others_need_is_learned_and_not_attacked(tmp_path: Path) -> None:
    assert run_tiny(tmp_path, rows=[row(pretrain=PATCHES)]) == 0
    (start,) = runs_of(tmp_path, "joint_at")
    assert len(start.predictions) == 0
    assert "validation_robust" in set(start.facts["name"])


def test_a_published_row_that_another_starts_from_is_learned_here_and_not_attacked_again(tmp_path: Path) -> None:
    clean = {"method": "single_task_standard"}
    assert run_tiny(tmp_path, rows=[clean], results="first") == 0
    for run in load(tmp_path / "first", None).runs:
        publish(run, tmp_path / "published" / "tiny")
    assert run_tiny(tmp_path, rows=[clean, {"method": "anp_vs"}]) == 0
    (here,) = runs_of(tmp_path, "single_task_standard")
    assert len(here.predictions) == 0
    both = load(tmp_path / "runs", tmp_path / "published").runs
    (shown,) = [run for run in both if run.method == "single_task_standard"]
    assert len(shown.predictions) > 0
    assert len(runs_of(tmp_path, "anp_vs")[0].predictions) > 0


def test_two_workers_load_the_scenario_that_their_job_is_of(tmp_path: Path) -> None:
    preset = write_preset(tmp_path, methods=[row(pretrain=PATCHES), {"method": "madry_at"}])
    assert main(["run", "--preset", str(preset), "--results", str(tmp_path / "runs"), "--workers", "2"]) == 0
    assert len(runs_of(tmp_path, "pretrained_at")) == len(runs_of(tmp_path, "joint_at")) == 1


def test_a_checkpoint_names_a_run_by_its_bytes_and_not_by_its_place(tmp_path: Path) -> None:
    first = begun(tmp_path, row(checkpoint=saved(tmp_path)))[1]
    moved = begun(tmp_path, row(checkpoint=saved(tmp_path, name="elsewhere.safetensors")))[1]
    changed = {"layers.0.weight": torch.zeros(8, 1, 3, 3)}
    other = begun(tmp_path, row(checkpoint=saved(tmp_path, name="other.safetensors", **changed)))[1]
    hashes = [context.job.hash for context in (first, moved, other)]
    assert hashes[0] == hashes[1] != hashes[2]


def command(folder: Path, settings: dict[str, Any]) -> int:
    preset = write_preset(folder, methods=[{"method": "madry_at"}, row(**settings)])
    return main(["run", "--preset", str(preset), "--results", str(folder / "runs")])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda folder: saved(folder, 0.5), r"start\.safetensors: layers\.0\.weight is \[16, 1, 3, 3\], .* has \[8, 1, 3, 3\]"),
        (lambda folder: saved(folder, **{"layers.3.weight": None}), r"start\.safetensors: holds no layers\.3\.weight"),
        (lambda folder: saved(folder, **{"extra": torch.zeros(1)}), r"start\.safetensors: holds extra, which"),
        (lambda folder: str(folder / "none.safetensors"), r"none\.safetensors.*no such file"),
        (lambda folder: _text(folder), r"text\.safetensors: not a safetensors file"),
    ],
)  # fmt: skip
def test_a_checkpoint_that_does_not_fit_is_one_line_before_anything_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], make: Any, says: str
) -> None:
    code = command(tmp_path, {"checkpoint": make(tmp_path)})
    error = capsys.readouterr().err
    assert code == 2
    assert len(error.splitlines()) == 1
    assert re.search(says, error), error
    assert not list((tmp_path / "runs").glob("*/config.json"))


def _text(folder: Path) -> str:
    path = folder / "text.safetensors"
    path.write_text("weights")
    return str(path)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, "give one of checkpoint=FILE and pretrain=SCENARIO"),
        ({"pretrain": "photo_patches", "checkpoint": __file__}, "give one of checkpoint=FILE and pretrain=SCENARIO"),
        ({"pretrain": "nowhere"}, "nowhere"),
        ({"pretrain": {"name": "photo_patches", "task": 1}}, "unknown key"),
        ({"pretrain": "cifar100_superclasses"}, "images of the same shape"),
        ({"pretrain": {"name": "digits", "tasks": 1, "train_fraction": 0.5}}, "digits_0_1 is a task of this preset too"),
    ],
)  # fmt: skip
def test_a_start_that_makes_no_sense_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: dict[str, Any], says: str
) -> None:
    code = command(tmp_path, settings)
    error = capsys.readouterr().err
    assert code == 2
    assert len(error.splitlines()) == 1
    assert says in error


def test_the_command_line_can_say_what_to_pretrain_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    preset = write_preset(tmp_path)
    options = ["run", "--preset", str(preset), "--results", str(tmp_path / "runs"), "--workers", "1"]
    patches = "{name: photo_patches, train_fraction: 0.1}"
    assert main([*options, "--methods", "pretrained_at", "--pretrain", patches]) == 0
    (run,) = runs_of(tmp_path, "pretrained_at")
    assert run.identity["settings"]["pretrain"] == PATCHES
    assert list(run.protocols) == [f"tiny methods.pretrained_at.pretrain={patches}"]
    capsys.readouterr()
    assert main([*options, "--pretrain", "photo_patches"]) == 2
    assert "add --methods pretrained_at" in capsys.readouterr().err


def test_the_context_of_a_resumed_run_needs_no_prerequisite(tmp_path: Path) -> None:
    method, context, tasks = begun(tmp_path, row(checkpoint=saved(tmp_path)))
    assert isinstance(context, RunContext)
    method.learn(tasks[0].to_learn(), context)
    other, _, _ = begun(tmp_path, row(pretrain=PATCHES))
    other.load_state(method.state())
    assert other.state().tensors.keys() == method.state().tensors.keys()
