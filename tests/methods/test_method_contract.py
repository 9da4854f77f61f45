"""What every method must hold, run over the registry: a method file that stands in `methods/` is tested by standing there."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.evaluation import check_classifier
from benchmark.execution import task_key
from benchmark.identity import classifier_fingerprint
from benchmark.jobs import Job, Machine, make_jobs
from benchmark.plugins import METHODS
from benchmark.presets import load_preset
from benchmark.stored_runs import restored_method
from methods.base import Method
from results import load
from results.checkpoints import Checkpoints
from results.store import RunStore
from scenarios.augmentation import to_float
from scenarios.base import SourceOptions, Task
from tests.tiny import rows_for, run_tiny, write_preset

NAMES = sorted(METHODS.all())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All methods learned two small tasks here, each once for all tests of this file."""
    path = tmp_path_factory.mktemp("runs")
    assert run_tiny(path, NAMES) == 0
    return path


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def job_of(folder: Path, name: str) -> tuple[Job, Machine, list[Task]]:
    preset = load_preset(str(write_preset(folder, methods=rows_for([name]))), methods=[name])
    machine = Machine(folder / "runs", folder / "published", SourceOptions(), "cpu", 1, 1, "")
    tasks = preset.scenario(SourceOptions()).load()
    jobs = make_jobs(preset, preset.choose([name]), tasks, SourceOptions())
    return jobs[-1], machine, tasks


def restored(folder: Path, name: str) -> tuple[Method, list[Task]]:
    """A fresh instance that was given nothing but the stored state."""
    job, machine, tasks = job_of(folder, name)
    return restored_method(job, machine, task_key(len(tasks) - 1)), tasks


def test_its_classifiers_are_frozen_in_eval_mode_and_give_the_logits_of_their_task_alone(
    folder: Path, name: str
) -> None:
    method, tasks = restored(folder, name)
    for task in tasks:
        check_classifier(method.classifier(task.id), to_float(task.test.images[:2]), len(task.classes))


def test_its_state_alone_gives_back_the_classifiers_it_had(folder: Path, name: str) -> None:
    method, tasks = restored(folder, name)
    job, machine, _ = job_of(folder, name)
    stored = Checkpoints(RunStore(machine.runs, job.hash).directory / "checkpoints").values(task_key(len(tasks) - 1))
    for task in tasks:
        assert classifier_fingerprint(method.classifier(task.id)) == stored["classifiers"][str(task.id)]


def test_a_classifier_is_a_copy_that_later_learning_cannot_change(folder: Path, name: str) -> None:
    method, _ = restored(folder, name)
    classifier = method.classifier(0)
    before = classifier_fingerprint(classifier)
    for tensor in method.state().tensors.values():
        if tensor.is_floating_point():
            tensor.detach().add_(1.0)
    assert classifier_fingerprint(classifier) == before


def test_a_method_that_claims_not_to_forget_hands_out_the_same_classifier_ever_after(tmp_path: Path, name: str) -> None:
    if "unforgetting" not in METHODS.find(name).cls.claims:
        pytest.skip(f"{name} does not claim not to forget")
    assert run_tiny(tmp_path, [name], keep="all") == 0
    (run,) = [run for run in load(tmp_path / "runs", None).runs if run.method == name]
    checkpoints = Checkpoints(run.directory / "checkpoints")
    first, last = (checkpoints.values(task_key(turn))["classifiers"] for turn in (0, 1))
    assert first["0"] == last["0"]


def test_it_learns_the_same_twice_and_something_else_from_another_seed(folder: Path, name: str, tmp_path: Path) -> None:
    assert run_tiny(tmp_path, [name], seeds=[0, 1]) == 0
    here = {run.seed: run.predictions for run in load(tmp_path / "runs", None).runs if run.method == name}
    (there,) = [run.predictions for run in load(folder / "runs", None).runs if run.method == name]
    columns = ["after_task", "task", "sample", "attack", "predicted", "margin"]
    order = columns[:4]
    same, other, first = (
        frame[columns].astype({"attack": str}).sort_values(order, ignore_index=True)
        for frame in (here[0], here[1], there)
    )
    assert same.equals(first), "the same seed gives the same predictions, to the bit"
    assert not other.equals(first)


def test_the_harness_finds_the_validation_accuracy_that_the_method_selected_by(folder: Path, name: str) -> None:
    (run,) = [run for run in load(folder / "runs", None).runs if run.method == name]
    facts = run.facts[run.facts["phase"] == "harness"].set_index(["task", "name"])["value"]
    checked = 0
    for task, fact in facts.index:
        if fact.startswith("selected_"):
            assert facts[(task, fact)] == facts[(task, fact.replace("selected", "validation"))]
            checked += 1
    assert checked > 0
