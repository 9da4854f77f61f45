"""The leaderboard in a terminal, readable from 80 columns on."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from reports.boards.board import Board, Row
from reports.console import PlainConsole
from reports.numbers.labels import visible
from reports.numbers.metrics import CLEAN, WORST
from reports.tables.leaderboard import caption
from reports.tables.words import amount, label_of, percent, short_name, verdict_of
from reports.write import EMPTY, Report

NARROW = 100
_COLOURS = {"pass": "green", "warn": "yellow", "not_run": "dim", "incomplete": "yellow", "superseded": "dim"}


def print_report(report: Report, console: Console | None = None) -> None:
    """Print every board, the rows below the line with their reasons, stored files with problems, and the path of the page."""
    console = console or PlainConsole()
    if not report.boards:
        console.print(EMPTY)
    # A terminal is read from its end: boards of published rows alone come before those with a row of one's own.
    for board in sorted(report.boards, key=lambda board: not board.is_published):
        _print_board(board, console)
    for problem in report.problems:
        told = Text.assemble(("not used:", "yellow"), " ", visible(str(problem)))
        console.print(told, soft_wrap=True, highlight=False)
    console.print(Text(f"report: {visible(str(report.page))}"), soft_wrap=True, highlight=False)


def _print_board(board: Board, console: Console) -> None:
    console.print(Text.assemble("\n", (visible(board.preset), "bold")), highlight=False)
    if board.ranked:
        console.print(_table(board, narrow=console.width < NARROW))
        console.print(Text(visible(caption(board)), style="dim"))
    else:
        console.print("No row is ranked yet.")
    for row in board.ranked:
        if row.reason:
            console.print(_note(row))
    if board.below:
        console.print(Text("below the line", "bold"), highlight=False)
        for row in board.below:
            console.print(_note(row))


def _note(row: Row) -> Text:
    note = Text("  ")
    note.append(label_of(row), "bold").append("  ")
    note.append(row.verdict, _COLOURS.get(row.verdict, "red"))
    # The reason of a failure begins with the verdict; say it once.
    return note.append(
        visible(row.reason.removeprefix(row.verdict) if row.reason.startswith(row.verdict) else f": {row.reason}")
    )


def _table(board: Board, narrow: bool) -> Table:
    """The ranked rows. Narrow terminals get only the intervals of the ranking's number and of forgetting."""
    robust = board.robust_matrix
    table = Table(box=None, pad_edge=False, padding=(0, 1 if narrow else 2, 0, 0), header_style="dim")
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("label", overflow="fold", min_width=8 if narrow else 20)
    if not narrow:
        table.add_column("seeds", justify="right")
    table.add_column("verdict", no_wrap=True)
    names = ["worst", "clean", *([short_name(robust, board)] if robust else []), "F clean"]
    names += [f"F {short_name(robust, board)}"] if robust else []
    # Costs and the number of seeds are left out first: they are in the files and on the page.
    for name in names if narrow else [*names, "train s", "MB"]:
        table.add_column(name.replace(" ", "\n"), justify="right", no_wrap=True)
    tied = _tied(board)
    for row in board.ranked:
        attacks = [f"ACC_lopezpaz2017 {a}" for a in (WORST, CLEAN, *([robust] if robust else []))]
        forgetting = [f"F_chaudhry2018 {a}" for a in (CLEAN, *([robust] if robust else []))]
        gap = "" if narrow else " "
        cells = [_with_interval(row, attacks[0], gap)]
        cells += [percent(row.measures.value(c)) if narrow else _with_interval(row, c, gap) for c in attacks[1:]]
        cells += [_with_interval(row, column, gap) for column in forgetting]
        rank = f"={row.rank}" if row.rank in tied else str(row.rank)
        verdict = Text(row.verdict if narrow else verdict_of(row), _COLOURS.get(row.verdict, "red"))
        costs = [amount(row.measures.value(name)) for name in ("train_seconds", "stored_mb")]
        seeds = [] if narrow else [str(len(row.seeds))]
        table.add_row(rank, Text(label_of(row)), *seeds, verdict, *cells, *([] if narrow else costs))
    return table


def _tied(board: Board) -> set[int | None]:
    ranks = [row.rank for row in board.ranked]
    return {rank for rank in ranks if ranks.count(rank) > 1}


def _with_interval(row: Row, column: str, gap: str) -> str:
    """`61.2 ±3.1` in points; the longer side of an interval that is not symmetric."""
    value, bounds = row.measures.value(column), row.measures.bounds(column)
    if value != value or bounds.low != bounds.low:
        return percent(value)
    return f"{percent(value)}{gap}±{100 * max(value - bounds.low, bounds.high - value):.1f}"
