"""Curves of a run reach the tool that was asked for, and no run waits for a tool or fails for one."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
from rich.console import Console

from benchmark import cli
from benchmark.commands.run import run
from benchmark.errors import ConfigError
from benchmark.learning.events import Event
from benchmark.planning.options import RunOptions
from benchmark.running.progress import curve_target as targets
from benchmark.running.progress import curves as tools
from benchmark.running.progress.curve_target import PACKAGES, CurveTarget, curve_target
from benchmark.running.progress.curves import CurveRun, Curves, MLflow, TensorBoard
from results import load
from tests.benchmark.commands.stored.test_status import event, planned
from tests.tiny import write_preset

RUN = CurveRun("tiny", "row-a s0", "a" * 16)
VALUES = {"train/loss": 0.5, "train/robust validation": 0.25}


class Drawing:
    """A tool that remembers its points. It waits for `go`, half a minute at most, and raises from point `fails` on."""

    where = "nowhere"

    def __init__(self, fails: int = 10**6) -> None:
        self.points: list[tuple[CurveRun, Mapping[str, float], int]] = []
        self.go, self.fails, self.closed = threading.Event(), fails, False
        self.go.set()

    def write(self, run: CurveRun, values: Mapping[str, float], step: int) -> None:
        self.go.wait(30)
        if len(self.points) >= self.fails:
            raise RuntimeError("no\nserver")
        self.points.append((run, dict(values), step))

    def close(self) -> None:
        self.closed = True


def epoch(number: int, task: int = 0, phase: str = "train", validation: float | None = 0.25) -> Event:
    of_training = {"phase": phase, "epoch": number, "epochs": 10, "loss": 0.5, "validation": validation}
    return event("a", "epoch", task=task, tasks=2, **of_training)


def test_every_epoch_is_a_point_whose_step_goes_on_over_tasks_and_phases() -> None:
    drawing = Drawing()
    curves = Curves([drawing], "tiny", [planned("a")], print)
    for told in (event("a", "start"), epoch(1), epoch(2, validation=None), epoch(1, phase="prune"), event("a", "task")):
        curves(told)
    curves(epoch(1, task=1))
    curves(event("b", "epoch"))
    curves.close()
    assert [step for _, _, step in drawing.points] == [1, 2, 3, 11]
    assert {run for run, _, _ in drawing.points} == {RUN}
    first, second, third, _ = (values for _, values, _ in drawing.points)
    assert first == {**VALUES, "task": 0, "done": pytest.approx(1 / 40)}
    assert second.keys() == {"train/loss", "task", "done"}
    assert third.keys() == {"prune/loss", "prune/robust validation", "task", "done"}
    assert drawing.closed


def test_after_a_kill_the_steps_go_on_where_they_were() -> None:
    drawing = Drawing()
    curves = Curves([drawing], "tiny", [planned("a")], print)
    for told in (event("a", "start"), epoch(4, task=1)):
        curves(told)
    curves.close()
    assert [step for _, _, step in drawing.points] == [14]


def test_a_tool_that_fails_is_told_of_once_and_left() -> None:
    good, bad, said = Drawing(), Drawing(fails=1), list[str]()
    curves = Curves([bad, good], "tiny", [planned("a")], said.append)
    for number in range(1, 6):
        curves(epoch(number))
    curves.close()
    assert len(good.points) == 5
    assert said == ["no more curves (nowhere): RuntimeError: no server"]
    assert (good.closed, bad.closed) == (True, False)


def test_no_run_waits_for_a_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    drawing = Drawing()
    drawing.go.clear()
    curves = Curves([drawing], "tiny", [planned("a")], print)
    curves(epoch(1))
    curves(epoch(2))
    assert drawing.points == []
    drawing.go.set()
    curves.close()
    assert len(drawing.points) == 2
    # A server that never answers is not waited for at the end either.
    drawing.go.clear()
    monkeypatch.setattr(tools, "CLOSING_SECONDS", 0.01)
    curves = Curves([drawing], "tiny", [planned("a")], print)
    curves(epoch(1))
    curves.close()
    drawing.go.set()


def test_a_tool_that_is_unknown_or_not_installed_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match="did you mean 'tensorboard'"):
        curve_target("tensorbord=here")
    monkeypatch.setattr(targets, "find_spec", lambda name: None)
    for tool in PACKAGES:
        assert cli.main(["run", "--preset", "digits", "--log", tool]) == 2
        shown = capsys.readouterr().err
        assert shown.startswith(f"error: --log {tool}: the package ")
        assert len(shown.splitlines()) == 1
    monkeypatch.setattr(targets, "find_spec", lambda name: object())
    assert curve_target("mlflow=https://a.b?c=d") == CurveTarget("mlflow", "https://a.b?c=d")


def test_places_of_curves_are_recorded_with_no_run() -> None:
    given = ["run", "--log", "tensorboard=/home/me", "--log=mlflow=/home/me", "--log", "wandb", "--set", "eps=0.1"]
    hidden = "run --log tensorboard=DIR --log=mlflow=DIR --log wandb --set eps=0.1"
    assert cli.recorded(given) == f"python run_benchmark.py {hidden}"


def test_a_run_is_drawn_as_it_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawing = Drawing()
    monkeypatch.setitem(tools.TOOLS, "tensorboard", lambda place, runs: drawing)
    preset = write_preset(tmp_path, methods=[{"method": "standard"}])
    options = RunOptions(str(preset), results=tmp_path / "runs", published=tmp_path / "published", workers=1)
    assert run(options, Console(quiet=True), log=[CurveTarget("tensorboard")]) == 0
    (stored,) = load(tmp_path / "runs", None).runs
    assert [values["train/loss"] for _, values, _ in drawing.points] == stored.training["loss"].tolist()
    assert {drawn.hash for drawn, _, _ in drawing.points} == {stored.directory.name}
    assert drawing.closed


def test_tensorboard_reads_what_was_drawn(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed (requirements-log.txt)")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for step in (1, 2):
        # The second time as after a kill.
        writer = TensorBoard("", tmp_path)
        writer.write(RUN, VALUES, step)
        writer.close()
    (folder,) = (tmp_path / ".curves" / "tensorboard" / "tiny").iterdir()
    found = EventAccumulator(str(folder))
    found.Reload()
    assert [(point.step, point.value) for point in found.Scalars("train/loss")] == [(1, 0.5), (2, 0.5)]


def test_mlflow_reads_what_was_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in PACKAGES["mlflow"]:
        pytest.importorskip(package, reason=f"{package} is not installed (requirements-log.txt)")
    from mlflow.tracking import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for step in (1, 2):
        writer = MLflow(str(tmp_path / "here"), tmp_path)
        writer.write(RUN, VALUES, step)
        writer.close()
    client = MlflowClient(f"sqlite:///{tmp_path / 'here' / 'mlflow.db'}")
    (found,) = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
    points = client.get_metric_history(found.info.run_id, "train/loss")
    assert [(point.step, point.value) for point in points] == [(1, 0.5), (2, 0.5)]
