"""Curves where people look at them: `run --log tensorboard`, `mlflow` or `wandb`, told by the same events as everything else.

Each tool is an optional requirement (requirements-log.txt), imported when the first epoch is told. It has a run of its own for
each run here, with a loss and a robust validation accuracy per epoch. Nothing depends on it, and a tool that fails is left.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

from benchmark.running.progress.curve_target import CurveTarget
from benchmark.running.progress.work import WorkProgress
from results.file_names import file_name

if TYPE_CHECKING:
    from benchmark.learning.events import Event
    from benchmark.planning.plan import Planned

FOLDER = ".curves"
"""The folder beside the runs in which tools write, unless they are told another place."""
CLOSING_SECONDS = 60.0
"""At most, for what tools have not drawn yet when the runs have ended: a server may not answer."""
PROJECT = "continual-adversarial-benchmark"
"""The project of Weights & Biases."""


class CurveWriter(Protocol):
    """A tool that draws curves. where: a line for people on where they are."""

    where: str

    def write(self, run: CurveRun, values: Mapping[str, float], step: int) -> None:
        """Draw a point of each curve of a run. values: by name of the curve. step: 1 or more; it rises, but after a kill."""

    def close(self) -> None:
        """Write what is left."""


@dataclass(frozen=True, slots=True)
class CurveRun:
    """A run as tools name it. hash: the first digits of its hash, the same after a kill."""

    preset: str
    name: str
    hash: str


class TensorBoard:
    """Event files, one folder per run: `tensorboard --logdir` shows them."""

    def __init__(self, place: str, runs: Path) -> None:
        self._folder = Path(place) if place else runs / FOLDER / "tensorboard"
        self.where = f"tensorboard --logdir {self._folder}"
        self._writers: dict[CurveRun, Any] = {}

    def write(self, run: CurveRun, values: Mapping[str, float], step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        if run not in self._writers:
            folder = self._folder / file_name(run.preset) / f"{file_name(run.name)}-{run.hash[:8]}"
            self._writers[run] = SummaryWriter(str(folder), flush_secs=10)
        for name, value in values.items():
            self._writers[run].add_scalar(name, value, step)

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()


class MLflow:
    """An experiment per preset: on the server of MLFLOW_TRACKING_URI if that is set, or in a file of its own."""

    def __init__(self, place: str, runs: Path) -> None:
        self._uri = place if "://" in place else os.environ.get("MLFLOW_TRACKING_URI", "") if not place else ""
        if not self._uri:
            folder = (Path(place) if place else runs / FOLDER / "mlflow").resolve()
            folder.mkdir(parents=True, exist_ok=True)
            self._uri = f"sqlite:///{folder / 'mlflow.db'}"
        self.where = f"mlflow ui --backend-store-uri {self._uri}"
        self._ids: dict[CurveRun, str] = {}
        self._client: Any = None

    def write(self, run: CurveRun, values: Mapping[str, float], step: int) -> None:
        from mlflow.tracking import MlflowClient

        # It tells how it makes its tables, in the middle of our lines.
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        self._client = self._client or MlflowClient(self._uri)
        if run not in self._ids:
            self._ids[run] = self._id_of(run)
        for name, value in values.items():
            self._client.log_metric(self._ids[run], name, value, step=step)

    def _id_of(self, run: CurveRun) -> str:
        """The run of the tool that draws this one, from before a kill or new."""
        found = self._client.get_experiment_by_name(run.preset)
        experiment = found.experiment_id if found is not None else self._client.create_experiment(run.preset)
        before = self._client.search_runs([experiment], f"tags.run = '{run.hash}'", max_results=1)
        made = before[0] if before else self._client.create_run(experiment, run_name=run.name, tags={"run": run.hash})
        return str(made.info.run_id)

    def close(self) -> None:
        for identifier in self._ids.values():
            self._client.set_terminated(identifier)


class WandB:
    """A group per preset. WANDB_MODE=offline writes files alone, which `wandb sync` sends later."""

    def __init__(self, place: str, runs: Path) -> None:
        self._folder = Path(place) if place else runs / FOLDER / "wandb"
        self.where = f"wandb, project {PROJECT}; files in {self._folder}"
        self._runs: dict[CurveRun, Any] = {}

    def write(self, run: CurveRun, values: Mapping[str, float], step: int) -> None:
        import wandb

        if run not in self._runs:
            self._folder.mkdir(parents=True, exist_ok=True)
            # It would take the output of this process, the code and numbers of the machine too; curves are what was asked for.
            quiet = wandb.Settings(
                silent=True, console="off", disable_code=True, disable_git=True, x_disable_stats=True
            )
            about: dict[str, Any] = {"project": PROJECT, "group": run.preset, "name": run.name, "id": run.hash}
            about |= {"resume": "allow", "reinit": "create_new", "dir": str(self._folder), "settings": quiet}
            self._runs[run] = wandb.init(**about)
        self._runs[run].log(dict(values), step=step)

    def close(self) -> None:
        for run in self._runs.values():
            run.finish()


TOOLS: dict[str, Callable[[str, Path], CurveWriter]] = {"tensorboard": TensorBoard, "mlflow": MLflow, "wandb": WandB}


class Curves:
    """A listener that hands epochs to tools, in a thread of its own: no run waits for a curve, or fails for one.

    say: is given a line for people. A tool that raises is told of once and left.
    """

    def __init__(
        self, writers: Sequence[CurveWriter], preset: str, planned: Sequence[Planned], say: Callable[[str], None]
    ) -> None:
        self._writers, self._preset, self._say = list(writers), preset, say
        self._progress = WorkProgress(planned, 1)
        self._points: SimpleQueue[Callable[[CurveWriter], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._draw, daemon=True, name="curves")
        self._thread.start()

    def __call__(self, event: Event) -> None:
        from results.records import DIRECTORY_DIGITS

        self._progress(event)
        job = self._progress.jobs.get(event.job)
        if event.kind != "epoch" or job is None:
            return
        run = CurveRun(self._preset, f"{event.label} s{event.seed}", event.job[:DIRECTORY_DIGITS])
        values = {f"{event.phase}/loss": event.loss, f"{event.phase}/robust validation": event.validation}
        values |= {"task": float(event.task), "done": job.share}
        known = {name: value for name, value in values.items() if value is not None}
        self._points.put(partial(_written, run, known, job.step))

    def close(self) -> None:
        """Draw what is left, as long as that takes no longer than `CLOSING_SECONDS`."""
        self._points.put(None)
        self._thread.join(CLOSING_SECONDS)

    def _draw(self) -> None:
        while (point := self._points.get()) is not None:
            self._each(point)
        self._each(lambda writer: writer.close())

    def _each(self, work: Callable[[CurveWriter], None]) -> None:
        for writer in list(self._writers):
            try:
                work(writer)
            except Exception as error:
                self._writers.remove(writer)
                reason = " ".join(str(error).split())[:300]
                self._say(f"no more curves ({writer.where}): {type(error).__name__}: {reason}")


def _written(run: CurveRun, values: Mapping[str, float], step: int, writer: CurveWriter) -> None:
    writer.write(run, values, step)


@contextmanager
def drawn(
    targets: Sequence[CurveTarget], runs: Path, preset: str, planned: Sequence[Planned], say: Callable[[str], None]
) -> Iterator[Curves]:
    """A listener that draws the curves of jobs by these tools, as long as the block lasts. runs: the folder of runs."""
    writers = [TOOLS[target.tool](target.place, runs) for target in targets]
    for writer in writers:
        say(f"curves: {writer.where}")
    curves = Curves(writers, preset, planned, say)
    try:
        yield curves
    finally:
        curves.close()
