"""The files of `tune`, a table and a figure, and its summary in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from reports.figures.style import paper_style, save
from reports.numbers.wording import counted
from reports.tables.words import percent, points, to_csv
from reports.tuning.figure import tuning_figure
from reports.tuning.tuned import Trial, keys_of, kind_of_interval, tuning_table
from results.file_names import file_name
from results.files import write_text

FOLDER = "tuning"
"""The folder below the output. `report` replaces only its own files."""


def folders(output: Path) -> tuple[Path, Path]:
    """The folders of the table and of the figure."""
    return output / FOLDER / "tables", output / FOLDER / "figures"


def write(trials: Sequence[Trial], board: str, tasks: int, output: Path) -> list[Path]:
    """Write `tuning/` in `output`: a CSV, and the figure as .png, .svg and .pdf. Equal outcomes give equal bytes.

    board: the name of the preset.
    tasks: the number of tasks that were learned.
    """
    stem = f"{file_name(board)}__tuning"
    tables, figures = folders(output)
    table = tables / f"{stem}.csv"
    write_text(table, to_csv(tuning_table(trials, tasks)))
    with paper_style():
        return [table, *save(tuning_figure(trials), figures / stem)]


def short_names(keys: Sequence[str]) -> list[str]:
    """The keys by their last words, as many as tell them apart: `recipe.learning_rate` is `learning_rate`."""
    parts = [key.split(".") for key in keys]
    for words in range(1, max(map(len, parts), default=0) + 1):
        names = [".".join(part[-words:]) for part in parts]
        if len(set(names)) == len(keys):
            return names
    return list(keys)


def show(trials: Sequence[Trial], board: str, tasks: int, console: Console) -> None:
    """Print a line per trial. tasks: the number of tasks that were learned."""
    keys = keys_of(trials)
    table = Table(
        title=f"{board}: validation images right after {counted(tasks, 'task')}, in percent", title_justify="left",
        box=None, pad_edge=False, header_style="dim",
    )  # fmt: skip
    table.add_column("row", overflow="fold")
    for name in short_names(keys):
        table.add_column(name, justify="right", overflow="fold")
    for name in ("under attack", "95 %", "clean", "above the preset", "95 %"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for trial in trials:
        values = dict(trial.values)
        marks = [word for word, holds in (("preset", trial.own), ("best", trial.best)) if holds]
        table.add_row(
            trial.label,
            *(values.get(key, "") for key in keys),
            percent(trial.robust),
            f"[{percent(trial.bounds.low)}, {percent(trial.bounds.high)}]",
            percent(trial.clean),
            "" if trial.own else points(trial.above),
            "" if trial.own else f"[{points(trial.above_bounds.low)}, {points(trial.above_bounds.high)}]",
            ", ".join(marks),
            style="bold" if trial.best else None,
        )
    console.print(table)
    first = trials[0]
    about = (
        f"{counted(first.images, 'validation image')}, {counted(first.seeds, 'seed')}; {kind_of_interval(first.seeds)}"
    )
    console.print(about, style="dim", highlight=False)
