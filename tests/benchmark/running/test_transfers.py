"""Attacks made on one stored classifier and tried on another: from checkpoints, without training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from attacks.pgd import PGD
from attacks.starts import Starts
from attacks.threat_model import ThreatModel
from attacks.transfer import Transfer
from benchmark.errors import ConfigError
from benchmark.learning.restoring import restored_method
from benchmark.planning.jobs import make_jobs
from benchmark.planning.machine import Machine
from benchmark.planning.presets import Preset, load_preset
from benchmark.planning.presets.overrides import merged
from benchmark.running.transfers import plan_transfers
from results import load
from results.records import Run
from scenarios.base import SourceOptions
from scenarios.parts.augmentation import to_float
from tests.tiny import TINY, run_tiny, write_preset

PGD_2: dict[str, Any] = {"attack": "pgd", "steps": 2, "step_size": "eps/4"}
ROWS = [{"method": "standard"}, {"method": "madry_at"}, {"method": "joint_at"}]
EVALUATION = {"matrix": [{"attack": "clean"}, PGD_2], "final": [{**PGD_2, "from": ["standard", "earlier"]}]}


def transferred(run: Run, source: str) -> Any:
    name = f"transfer from={source} pgd-2 linf 51/255 a=12.75/255"
    return run.predictions[run.predictions["attack"] == name]


def runs_of(folder: Path) -> dict[str, Run]:
    return {run.label: run for run in load(folder / "runs", None).runs}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("transfers")
    assert run_tiny(folder, rows=ROWS, evaluation=EVALUATION) == 0
    return folder


def test_every_row_is_attacked_from_every_other_source_and_from_its_own_past(done: Path) -> None:
    runs = runs_of(done)
    for label, sources in {
        "standard": ["earlier"],
        "madry_at": ["standard", "earlier"],
        "joint_at": ["standard"],
    }.items():
        for source in ("standard", "earlier"):
            rows = transferred(runs[label], source)
            expected = {0, 1} if source in sources else set()
            assert set(rows["task"]) == expected, (label, source)
            assert set(rows["after_task"]) <= {1}


def test_the_stored_outcome_is_the_classifier_on_the_images_that_break_the_source(done: Path) -> None:
    preset = load_preset(str(write_preset(done, methods=ROWS, evaluation=EVALUATION)))
    machine = Machine(done / "runs", done / "published", SourceOptions(), "cpu", 1, 1, "")
    tasks = preset.scenario(SourceOptions()).load()
    jobs = {job.label: job for job in make_jobs(preset, preset.rows, tasks, SourceOptions())}
    attack = PGD(threat_model=ThreatModel(preset.eps), steps=2, step_size="eps/4")  # type: ignore[arg-type]
    for source, turn, task in (("standard", 1, tasks[1]), ("earlier", 0, tasks[0])):
        origin = jobs["madry_at" if source == "earlier" else source]
        surrogate = restored_method(origin, machine, f"task-00{turn}").classifier(task.id)
        target = restored_method(jobs["madry_at"], machine, "task-001").classifier(task.id)
        images, start = to_float(task.test.images), Starts(0, task.test_fingerprint, task.test.samples)
        made = attack.run(surrogate, images, task.test.labels, start).adversarial
        with torch.no_grad():
            expected = target(made).argmax(1)
        rows = transferred(runs_of(done)["madry_at"], source)
        stored = dict(zip(*(rows[rows["task"] == task.id][c] for c in ("sample", "predicted")), strict=True))
        assert [stored[sample] for sample in task.test.samples.tolist()] == expected.tolist()


def test_nothing_is_made_twice(done: Path) -> None:
    preset = load_preset(str(write_preset(done, methods=ROWS, evaluation=EVALUATION)))
    machine = Machine(done / "runs", done / "published", SourceOptions(), "cpu", 1, 1, "")
    tasks = preset.scenario(SourceOptions()).load()
    jobs = make_jobs(preset, preset.rows, tasks, SourceOptions())
    assert plan_transfers(jobs, machine, tasks) == []


def test_a_source_that_was_not_run_is_left_out_and_comes_later_without_training(tmp_path: Path) -> None:
    assert run_tiny(tmp_path, ["madry_at"], rows=ROWS, evaluation=EVALUATION) == 0
    alone = runs_of(tmp_path)
    assert set(alone) == {"madry_at"}
    assert len(transferred(alone["madry_at"], "earlier"))
    assert not len(transferred(alone["madry_at"], "standard"))
    trained = alone["madry_at"].training
    assert run_tiny(tmp_path, rows=ROWS[:2], evaluation=EVALUATION) == 0
    both = runs_of(tmp_path)
    assert len(transferred(both["madry_at"], "standard"))
    assert both["madry_at"].training.equals(trained)


def test_a_row_that_starts_from_another_stream_has_its_transfers_too(tmp_path: Path) -> None:
    """The run that it is pre-trained on comes first in the plan, under a preset of its own that knows no transfers."""
    started = {"method": "pretrained_at", "settings": {"pretrain": {"name": "digits", "skip": 3, "tasks": 1}}}
    assert run_tiny(tmp_path, ["pretrained_at"], rows=[*ROWS, started], evaluation=EVALUATION) == 0
    assert set(transferred(runs_of(tmp_path)["pretrained_at"], "earlier")["task"]) == {0, 1}


def test_a_row_that_nobody_asked_for_and_that_cannot_be_made_here_harms_no_other(tmp_path: Path) -> None:
    missing = {"method": "pretrained_at", "settings": {"pretrain": {"name": "image_folder", "folders": ["/nowhere"]}}}
    both = {**EVALUATION, "final": [{**PGD_2, "from": ["standard", "pretrained_at"]}]}
    assert run_tiny(tmp_path, ["standard", "madry_at"], rows=[*ROWS, missing], evaluation=both) == 0
    assert set(transferred(runs_of(tmp_path)["madry_at"], "standard")["task"]) == {0, 1}
    assert all((run.directory / "verdicts.json").exists() for run in runs_of(tmp_path).values())


def test_a_past_that_was_not_kept_is_left_out_and_costs_no_other_transfer(tmp_path: Path) -> None:
    for _ in range(2):
        assert run_tiny(tmp_path, rows=ROWS[:2], evaluation=EVALUATION, keep="last") == 0
        madry_at = runs_of(tmp_path)["madry_at"]
        assert set(transferred(madry_at, "standard")["task"]) == {0, 1}
        assert set(transferred(madry_at, "earlier")["task"]) == {1}
        assert not madry_at.failures


def test_a_source_that_cannot_be_restored_costs_the_transfers_from_it_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound = Transfer.on

    def fails(attack: Transfer, surrogate: nn.Module) -> Transfer:
        if attack.source == "standard":
            raise RuntimeError("its weights are of another shape")
        return bound(attack, surrogate)

    monkeypatch.setattr(Transfer, "on", fails)
    assert run_tiny(tmp_path, rows=ROWS[:2], evaluation=EVALUATION) == 1
    madry_at = runs_of(tmp_path)["madry_at"]
    assert set(transferred(madry_at, "earlier")["task"]) == {0, 1}
    assert not len(transferred(madry_at, "standard"))
    assert {failure["attack"] for failure in madry_at.failures} == {
        "transfer from=standard pgd-2 linf 51/255 a=12.75/255"
    }


def test_a_source_that_is_no_row_is_one_clear_line() -> None:
    wrong = {"final": [{**PGD_2, "from": "single_task"}]}
    with pytest.raises(ConfigError, match=r"'single_task' is no row of this preset.*valid: earlier, madry_at"):
        Preset("tiny", merged(TINY, {"evaluation": wrong}), "tiny")
    with pytest.raises(ConfigError, match="matrix: transfers"):
        Preset("tiny", merged(TINY, {"evaluation": {"matrix": [{**PGD_2, "from": "earlier"}]}}), "tiny")
    with pytest.raises(ConfigError, match="from = \\[\\]"):
        Preset("tiny", merged(TINY, {"evaluation": {"final": [{**PGD_2, "from": []}]}}), "tiny")


def test_a_transfer_that_fails_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_tiny(tmp_path, rows=ROWS[:2], evaluation={**EVALUATION, "final": []}) == 0

    def crash(*arguments: object) -> None:
        raise RuntimeError("surrogate broke")

    monkeypatch.setattr("attacks.transfer.Transfer.run", crash)
    assert run_tiny(tmp_path, rows=ROWS[:2], evaluation=EVALUATION) == 1
    failed = runs_of(tmp_path)["madry_at"]
    assert any("surrogate broke" in failure["message"] for failure in failed.failures)
    monkeypatch.undo()
    assert run_tiny(tmp_path, rows=ROWS[:2], evaluation=EVALUATION) == 0
    assert len(transferred(runs_of(tmp_path)["madry_at"], "standard"))
