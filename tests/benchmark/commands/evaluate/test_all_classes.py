"""`evaluate` where no task is told at test: one network among the classes of all tasks, as `run` measures it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from torch import nn

from benchmark import RunOptions, open_target
from benchmark.cli import main
from benchmark.commands.evaluate.attacking import ModuleEvaluation, attack_module, choose_protocol
from reports.boards.building import judged
from results import Run, load
from scenarios.parts.augmentation import to_float
from tests.benchmark.commands.evaluate.test_measured import accuracies
from tests.tiny import run_tiny, write_preset

CLASS = {"protocol": "class"}
FINAL = {"final": [{"attack": "fgsm"}, {"attack": "pgd", "steps": 3, "step_size": "eps/2"}]}


@dataclass(frozen=True)
class Stored:
    """A run of a network for all classes, and that network."""

    folder: Path
    preset: Path
    run: Run
    network: nn.Module

    def right(self, attack: str, *tasks: int) -> float:
        """The share of the tasks' images that the run says are right."""
        rows = self.run.predictions.query("attack == @attack and task in @tasks")
        return float((rows["predicted"] == rows["label"]).mean())

    def evaluated(self, task: str | None = None) -> ModuleEvaluation:
        return attack_module(self.network, "network", choose_protocol(RunOptions(str(self.preset)), task))


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    folder = tmp_path_factory.mktemp("stored")
    rows = [{"method": "joint_at"}]
    assert run_tiny(folder, rows=rows, scenario=CLASS, evaluation=FINAL) == 0
    preset = write_preset(folder, methods=rows, scenario=CLASS, evaluation=FINAL)
    options = RunOptions(str(preset), results=folder / "runs", published=folder / "published")
    (run,) = load(folder / "runs", None).runs
    return Stored(folder, preset, run, open_target("joint_at", "0", options).classifier)


@pytest.fixture(scope="module")
def found(stored: Stored) -> ModuleEvaluation:
    return stored.evaluated()


def test_it_measures_what_a_run_measures(stored: Stored, found: ModuleEvaluation) -> None:
    assert (found.classes, [task.id for task in found.tasks], found.task) == (4, [0, 1], None)
    assert found.columns == (*found.tasks[0].classes, *found.tasks[1].classes)
    measured = found.attacks.set_index("attack")
    assert len(measured) == len(set(stored.run.protocols["tiny"]["final"])) * 2 - 2  # clean and FGSM have one iterate
    for attack, row in measured.iterrows():
        assert row["accuracy"] == pytest.approx(stored.right(str(attack), 0, 1)), attack
        assert row["samples"] == len(stored.run.predictions.query("attack == @attack"))


def test_it_is_judged_as_a_run_is(stored: Stored, found: ModuleEvaluation) -> None:
    (seed,) = judged(load(stored.folder / "runs", None), "tiny")
    of_run = {verdict.check: verdict.status for verdict in seed.verdicts}
    mine = {verdict.check: verdict.status for verdict in found.verdicts}
    # Nobody watched how it was learned, and no file makes it anew.
    asked = {check for check, status in mine.items() if status != "not_run"}
    assert {check: mine[check] for check in asked} == {check: of_run[check] for check in asked}
    assert {"complete", "above_chance", "repeatable", "monotone_eps"} & set(mine) <= asked


def test_one_task_s_images_are_answered_among_all_classes(stored: Stored) -> None:
    second = stored.evaluated("1")
    assert (second.classes, [task.id for task in second.tasks]) == (4, [1])
    assert second.columns[2:] == second.tasks[0].classes
    for attack, row in second.attacks.set_index("attack").iterrows():
        assert row["accuracy"] == pytest.approx(stored.right(str(attack), 1)), attack


def test_an_attack_that_fails_on_a_task_names_it(stored: Stored) -> None:
    class Fails(nn.Module):
        """Fails when it is asked about the last test image of the second task."""

        def __init__(self) -> None:
            super().__init__()
            self.inside = stored.network

        def forward(self, images):
            if (images == image).flatten(1).all(1).any():
                raise RuntimeError("out of order")
            return self.inside(images)

    protocol = choose_protocol(RunOptions(str(stored.preset)), None)
    second = protocol.tasks[1]
    image = to_float(second.test.images[-1:])
    failures = attack_module(Fails(), "network", protocol).failures
    assert failures
    assert all(line.startswith(f"{second.name}: ") for line in failures)


FILE = """
from torch import nn

def network():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, {classes}))
"""


def command(folder: Path, *more: str, classes: int = 4, **changes: object) -> int:
    (folder / "mine.py").write_text(FILE.format(classes=classes))
    preset = write_preset(folder, evaluation={"final": [{"attack": "fgsm"}]}, **changes)
    return main(["evaluate", f"{folder / 'mine.py'}:network", "--preset", str(preset), *more])


def test_the_command_needs_no_task_and_says_what_was_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "found.json"
    assert command(tmp_path, "--output", str(output), scenario=CLASS) == 0
    assert "on tasks 0 (digits_0_1), 1 (digits_2_3) among all 4 classes of preset tiny" in " ".join(
        capsys.readouterr().out.split()
    )
    written = json.loads(output.read_text())
    assert (written["protocol"], written["task"]) == ("class", None)
    assert [task["name"] for task in written["tasks"]] == ["digits_0_1", "digits_2_3"]
    assert set(accuracies(written)) >= {"clean", "fgsm linf 51/255"}


@pytest.mark.parametrize(
    ("protocol", "classes", "message"),
    [
        (
            "task",
            2,
            "--task is missing: preset tiny tells the task at test (scenario.protocol: task); valid: 0 (digits_0_1), 1",
        ),
        ("class", 2, "returns 2 logits per image to answer among 4 classes; (N, 4) is right"),
    ],
)
def test_a_question_that_does_not_fit_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], protocol: str, classes: int, message: str
) -> None:
    assert command(tmp_path, classes=classes, scenario={"protocol": protocol}) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
