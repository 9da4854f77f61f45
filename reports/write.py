"""From stored results to everything a reader gets: CSV, Markdown, LaTeX, figures, tables and the page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from reports.boards.board import Board
from reports.boards.building import build_boards
from reports.exhibits.exhibits import Exhibits, exhibits_of
from reports.exhibits.figures import exhibit_figures
from reports.exhibits.pages import exhibit_files, exhibits_latex, exhibits_page, in_report
from reports.figures.accuracy import accuracy_bars, accuracy_matrices, matrices_caption
from reports.figures.capacity import capacity_figures
from reports.figures.cost import cost_figure
from reports.figures.ranking import ranking_figure
from reports.figures.sequence import sequence_figure
from reports.figures.style import FigureOnPage, for_page, looks, paper_style, save
from reports.figures.sweep import sweep_figure
from reports.figures.training import training_figure
from reports.numbers.published_values import read_published
from reports.page.page import render_checks, render_page
from reports.tables.details import board_tables, names_table
from reports.tables.entries import entry_names, row_entry, to_json
from reports.tables.latex import latex
from reports.tables.leaderboard import wide_table
from reports.tables.markdown import markdown
from reports.tables.words import to_csv
from results import Problem, Results
from results.files import whole_file

EMPTY = "No results yet: no stored run is a row of any preset."


@dataclass(frozen=True)
class Report:
    """What was written and from what. `page` is the HTML file; `problems`: stored files that could not be used."""

    output: Path
    boards: list[Board]
    table: pd.DataFrame
    problems: list[Problem]

    @property
    def page(self) -> Path:
        return self.output / "index.html"


def write_report(results: Results, output: Path | str) -> Report:
    """Write leaderboard.csv/.md/.tex, exhibits.md/.tex, index.html, checks.html, tables/, rows/ and figures/ into `output`.

    An older report there goes. Equal records give equal bytes, but for the line of the page that says when it was made.
    """
    output = Path(output)
    boards = build_boards(results)
    table = wide_table(boards)
    exhibits = exhibits_of(boards, read_published())
    figures = _figures(exhibits, output / "figures")
    _write(output / "leaderboard.csv", to_csv(table))
    _write(output / "leaderboard.md", markdown(boards, EMPTY))
    _write(output / "leaderboard.tex", latex(boards, EMPTY))
    _write(output / "exhibits.md", exhibits_page(exhibits, in_report(figures), EMPTY))
    _write(output / "exhibits.tex", exhibits_latex(exhibits, EMPTY))
    written = set()
    tables = [*(table for board in boards for table in board_tables(board)), *exhibit_files(exhibits)]
    tables += [("all__names", names_table(boards))] if boards else []
    for stem, frame in tables:
        path = output / "tables" / f"{stem}.csv"
        _write(path, to_csv(frame))
        written.add(path)
    for path in (output / "tables").glob("*__*.csv"):
        if path not in written:
            path.unlink()
    entries = {
        name: row_entry(board, row)
        for board in boards
        for name, row in zip(entry_names(board), board.rows, strict=True)
    }
    for name, entry in entries.items():
        _write(output / "rows" / f"{name}.json", to_json(entry))
    for path in (output / "rows").glob("*__*.json"):
        if path.stem not in entries:
            path.unlink()
    report = Report(output, boards, table, results.problems)
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    _write(report.page, render_page(boards, entries, figures, report.problems, made, EMPTY))
    _write(output / "checks.html", render_checks(boards))
    return report


def _write(path: Path, text: str) -> None:
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def _figures(exhibits: list[Exhibits], folder: Path) -> dict[str, list[FigureOnPage]]:
    """Draw and save the figures of every board that has ranked rows; return them by preset, for the page."""
    appearance = looks(row.label for each in exhibits for row in each.board.rows)
    found: dict[str, list[FigureOnPage]] = {}
    written = set()
    with paper_style():
        for each in exhibits:
            board = each.board
            if not board.ranked:
                continue
            drawn = {
                "accuracy": (
                    "Accuracy after the last task by attack, 95 % intervals; a gap: not measured",
                    accuracy_bars(board, appearance),
                ),
                **({"sweep": sweep} if (sweep := sweep_figure(board, appearance)) else {}),
                **({"ranking": ranking} if (ranking := ranking_figure(board, appearance)) else {}),
                **({"sequence": sequence} if (sequence := sequence_figure(board, appearance)) else {}),
                "matrices": (matrices_caption(board), accuracy_matrices(board)),
                **({"cost": cost} if (cost := cost_figure(board, appearance)) else {}),
                **({"training": training} if (training := training_figure(board, appearance)) else {}),
                **capacity_figures(board, appearance),
                **exhibit_figures(each),
            }
            for name, (title, figure) in drawn.items():
                paths = save(figure, folder / f"{board.stem}__{name}")
                written |= set(paths)
                svg = next(path for path in paths if path.suffix == ".svg").read_text(encoding="utf-8")
                found.setdefault(board.preset, []).append(FigureOnPage(title, for_page(svg), paths[0].stem))
    for path in folder.glob("*__*.*"):
        if path not in written:
            path.unlink()
    return found
