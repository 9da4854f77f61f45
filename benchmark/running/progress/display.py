"""Progress on the screen: on a terminal a live line per running job, elsewhere a line when a job starts or ends."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from benchmark.learning.events import Event
from benchmark.planning.plan import Planned
from benchmark.running.progress.duration import duration
from benchmark.running.progress.work import FAILED, LEFT, RUNNING, JobProgress, WorkProgress
from reports.console import PlainConsole
from reports.numbers.labels import visible


class Display:
    """A listener that shows events. Without a terminal it prints one line when a job starts, ends or has news.

    progress: of the jobs.
    """

    def __init__(self, planned: Sequence[Planned], workers: int, console: Console | None = None) -> None:
        self.console = console or PlainConsole()
        self.progress = WorkProgress(planned, workers)
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
        job = self.progress.jobs.get(event.job)
        if job is None:
            return
        job.count(event)
        name = f"{event.label} seed {event.seed}"
        if event.kind == "start":
            if self._live is None:
                self.console.print(f"{name}: started", highlight=False, markup=False)
        elif event.kind == "note":
            self.console.print(f"{name}: {event.text}", style="yellow", highlight=False, markup=False)
        elif event.kind == LEFT and job.took:
            text = f"{name}: stopped after {duration(job.took)}: {event.text}"
            self.console.print(text, highlight=False, markup=False)
        elif event.kind in ("done", "failed"):
            took, failed = duration(job.seconds()), job.state == FAILED
            text = f"{name}: failed after {took}: {event.text}" if failed else f"{name}: done in {took}"
            self.console.print(text, style="red" if failed else "green", highlight=False, markup=False)

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 1))
        for line in (job for job in self.progress.jobs.values() if job.state == RUNNING):
            table.add_row(*_cells(line))
        total = self.progress.seconds_left()
        table.add_row(
            "",
            f"{self.progress.ended()} of {len(self.progress.jobs)} runs done",
            "",
            f"all {duration(total)}" if total else "",
        )
        return table


def _cells(line: JobProgress) -> tuple[Text, Text, str, str]:
    """The line of a job that runs: its name, what it does, how much is done, how long it takes."""
    job, left = line.planned.job, line.seconds_left()
    return (
        Text.assemble((visible(job.label), "bold"), f" s{job.seed}"),
        Text(visible(line.text)),
        f"{line.share:4.0%}",
        f"left {duration(left)}" if left is not None else "",
    )
