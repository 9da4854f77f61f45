"""Progress on the screen: on a terminal a live line per running job, elsewhere a line when a job starts or ends."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from benchmark.learning.events import Event
from benchmark.planning.plan import Planned
from reports.console import PlainConsole
from reports.numbers.labels import visible


def duration(seconds: float) -> str:
    """A time for people: 0:42, 12:05 or 3 h 20 min."""
    if seconds >= 3600:
        return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d} min"
    return f"{int(seconds // 60)}:{int(seconds % 60):02d}"


@dataclass
class _Line:
    """The progress of one job, in passes through the network."""

    planned: Planned
    began: float = 0.0
    turns_done: int = 0
    epoch_share: float = 0.0
    phase: str = ""
    epochs_before: int = 0
    epochs_of_phase: int = 0
    evaluations_done: int = 0
    text: str = "waiting"
    ended: bool = False

    @property
    def done_passes(self) -> float:
        if self.ended:
            return self.planned.passes
        turns, work = self.planned.turns, self.planned.cells
        learned = min(1.0, (self.turns_done + self.epoch_share) / turns) if turns else 0.0
        evaluated = self.evaluations_done / work if work else 0.0
        return learned * self.planned.learning_passes + evaluated * self.planned.evaluation_passes

    def count_epoch(self, event: Event) -> None:
        """Count an epoch of the turn being learned; all its phases together have `Method.epochs` epochs, at most."""
        if event.phase != self.phase:
            self.phase, self.epochs_before = event.phase, self.epochs_before + self.epochs_of_phase
        self.epochs_of_phase = event.epoch
        job = self.planned.job
        expected = job.plugin.cls.epochs(job.typed_settings, job.recipe)
        self.epoch_share = min(1.0, (self.epochs_before + event.epoch) / expected)

    def seconds_left(self) -> float | None:
        """Seconds that this job still takes at its own speed so far; None as long as that is unknown."""
        elapsed = time.monotonic() - self.began
        if not self.began or self.done_passes <= 0 or elapsed < 1:
            return None
        return elapsed * (self.planned.passes - self.done_passes) / self.done_passes


class Display:
    """A listener that shows events. Without a terminal it prints one line when a job starts, ends or has news."""

    def __init__(self, planned: Sequence[Planned], workers: int, console: Console | None = None) -> None:
        self.console = console or PlainConsole()
        self.lines = {item.job.hash: _Line(item) for item in planned}
        self.workers = workers
        self._live: Live | None = None

    def __enter__(self) -> Display:
        if self.console.is_terminal:
            self._live = Live(console=self.console, get_renderable=self._table, refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, event: Event) -> None:
        line = self.lines.get(event.job)
        if line is None:
            return
        name = f"{event.label} seed {event.seed}"
        if event.kind == "start":
            line.began, line.text = time.monotonic(), "starting"
            if self._live is None:
                self.console.print(f"{name}: started", highlight=False, markup=False)
        elif event.kind == "epoch":
            line.count_epoch(event)
            line.text = self._epoch_text(event)
        elif event.kind == "task":
            if line.turns_done < line.planned.turns and line.epoch_share:
                line.turns_done += 1
            line.epoch_share, line.phase, line.epochs_before, line.epochs_of_phase = 0.0, "", 0, 0
            line.text = f"task {event.task + 1}/{event.tasks} {event.task_name}: attacking"
        elif event.kind == "evaluation":
            line.evaluations_done += 1
            line.text = f"task {event.task + 1}/{event.tasks} {event.task_name}: {event.text}"
        elif event.kind == "note":
            self.console.print(f"{name}: {event.text}", style="yellow", highlight=False, markup=False)
        elif event.kind in ("done", "failed"):
            line.ended = True
            took = duration(time.monotonic() - line.began) if line.began else "0:00"
            failed = event.kind == "failed"
            text = f"{name}: failed after {took}: {event.text}" if failed else f"{name}: done in {took}"
            self.console.print(text, style="red" if failed else "green", highlight=False, markup=False)

    def _epoch_text(self, event: Event) -> str:
        text = f"task {event.task + 1}/{event.tasks} {event.task_name}  {event.phase} {event.epoch}/{event.epochs}"
        if event.loss is not None:
            text += f"  loss {event.loss:.3f}"
        if event.validation is not None:
            text += f"  robust val {100 * event.validation:.1f} %"
        return text

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 1))
        active = [line for line in self.lines.values() if line.began and not line.ended]
        for line in active:
            left = line.seconds_left()
            share = line.done_passes / line.planned.passes if line.planned.passes else 0.0
            job = line.planned.job
            table.add_row(
                Text.assemble((visible(job.label), "bold"), f" s{job.seed}"),
                Text(visible(line.text)),
                f"{share:4.0%}",
                f"left {duration(left)}" if left is not None else "",
            )
        total = self._seconds_left_in_all()
        done = sum(line.ended for line in self.lines.values())
        table.add_row("", f"{done} of {len(self.lines)} runs done", "", f"all {duration(total)}" if total else "")
        return table

    def _seconds_left_in_all(self) -> float | None:
        """Seconds for all jobs: the passes left at the mean speed of the running jobs, all workers busy; None if unknown."""
        speeds = []
        for line in self.lines.values():
            elapsed = time.monotonic() - line.began
            if line.began and not line.ended and line.done_passes > 0 and elapsed > 1:
                speeds.append(line.done_passes / elapsed)
        if not speeds:
            return None
        left = sum(line.planned.passes - line.done_passes for line in self.lines.values())
        return left / (sum(speeds) / len(speeds)) / self.workers
