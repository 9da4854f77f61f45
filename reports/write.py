"""From stored results to a report: CSV, Markdown, LaTeX, figures, tables, entries and the page."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from reports.boards.board import Board
from reports.boards.building import build_boards
from reports.boards.left_out import leave_out, of_sound_ones
from reports.exhibits.claims_figure import CLAIMS_FIGURE, claims_figure
from reports.exhibits.exhibits import Exhibits, exhibits_of
from reports.exhibits.pages import exhibit_files, exhibits_latex, exhibits_page, in_report, on_page
from reports.exhibits.steps_figure import exhibit_figures
from reports.figures.accuracy import accuracy_bars, accuracy_matrices, matrices_caption
from reports.figures.capacity import capacity_figures
from reports.figures.cost import cost_figure
from reports.figures.ranking import ranking_figure
from reports.figures.sequence import sequence_figure
from reports.figures.style import FigureOnPage, for_page, looks, paper_style, save
from reports.figures.sweep import sweep_figure
from reports.figures.time import time_figure
from reports.figures.training import training_figure
from reports.numbers.published_values import read_published
from reports.page.page import render_checks, render_page
from reports.tables.details import board_tables, names_table
from reports.tables.entries import entry_names, row_entry, to_json
from reports.tables.latex import leaderboard_latex
from reports.tables.leaderboard import wide_table
from reports.tables.markdown import leaderboard_markdown
from reports.tables.words import to_csv
from results import Problem, Results, Run
from results.files import StoreError, write_text

EMPTY = "No results yet: no stored run is a row of any preset."


@dataclass(frozen=True)
class Report:
    """A written report.

    output: its folder.
    table: the leaderboard with every number.
    problems: stored files that could not be used.
    """

    output: Path
    boards: list[Board]
    table: pd.DataFrame
    problems: list[Problem]

    @property
    def page(self) -> Path:
        """The page of the leaderboard."""
        return self.output / "index.html"


def write_report(results: Results, output: Path | str) -> Report:
    """Write leaderboard.csv/.md/.tex, exhibits.md/.tex, index.html, checks.html, tables/, rows/ and figures/ into `output`.

    Files of an older report there are removed. Equal records give equal bytes, but for the time on the page. A run of which no
    row can be made, or none that can be written, is left out and told among the problems. Raises OSError and StoreError if
    there is no place to write to.
    """
    try:
        return _write(results, build_boards(results), Path(output))
    except (OSError, StoreError):
        raise
    except Exception:
        sound = _without_unwritable_rows(results)
    return _write(sound, build_boards(sound), Path(output))


def _without_unwritable_rows(results: Results) -> Results:
    """The results without the rows that no file can be written of; these are told among the problems of their runs."""
    unwritable: dict[str, set[str]] = defaultdict(set)
    for preset in sorted({name for run in results.runs for name in run.protocols}):
        runs = [run.under({preset}) for run in results.runs if preset in run.protocols]

        def written(of: Sequence[Run]) -> Report:
            tried = Results(list(of), [])
            with tempfile.TemporaryDirectory() as folder:
                return _write(tried, build_boards(tried), Path(folder))

        def tell(run: Run, error: Exception, preset: str = preset) -> None:
            leave_out(run, preset, error)
            unwritable[run.hash].add(preset)

        of_sound_ones(runs, written, tell)
    return Results([run.under(set(run.protocols) - unwritable[run.hash]) for run in results.runs], results.unreadable)


def _write(results: Results, boards: list[Board], output: Path) -> Report:
    exhibits = exhibits_of(boards, read_published())
    figures = _figures(exhibits, output / "figures")
    # Last, because figures meet parts that nothing else reads.
    report = Report(output, boards, wide_table(boards), results.problems)
    write_text(output / "leaderboard.csv", to_csv(report.table))
    write_text(output / "leaderboard.md", leaderboard_markdown(boards, EMPTY))
    write_text(output / "leaderboard.tex", leaderboard_latex(boards, EMPTY))
    write_text(output / "exhibits.md", exhibits_page(exhibits, in_report(figures), EMPTY))
    write_text(output / "exhibits.tex", exhibits_latex(exhibits, EMPTY))
    _write_tables(exhibits, output / "tables")
    entries = _write_entries(boards, output / "rows")
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    page = render_page(boards, entries, figures, on_page(exhibits), report.problems, made, EMPTY)
    write_text(report.page, page)
    write_text(output / "checks.html", render_checks(boards))
    return report


def _write_tables(exhibits: list[Exhibits], folder: Path) -> None:
    boards = [each.board for each in exhibits]
    tables = [*(table for board in boards for table in board_tables(board)), *exhibit_files(exhibits)]
    tables += [("all__names", names_table(boards))] if boards else []
    paths = {folder / f"{stem}.csv": frame for stem, frame in tables}
    for path, frame in paths.items():
        write_text(path, to_csv(frame))
    _remove_others(folder, "*__*.csv", paths)


def _write_entries(boards: list[Board], folder: Path) -> dict[str, dict[str, Any]]:
    """Write the entry of every row. Returns them by name, for the page."""
    entries = {
        name: row_entry(board, row)
        for board in boards
        for name, row in zip(entry_names(board), board.rows, strict=True)
    }
    paths = {folder / f"{name}.json": entry for name, entry in entries.items()}
    for path, entry in paths.items():
        write_text(path, to_json(entry))
    _remove_others(folder, "*__*.json", paths)
    return entries


def _remove_others(folder: Path, pattern: str, written: Collection[Path]) -> None:
    """Remove the files of an older report."""
    for path in folder.glob(pattern):
        if path not in written:
            path.unlink()


def _figures(exhibits: list[Exhibits], folder: Path) -> dict[str, list[FigureOnPage]]:
    """Draw and save the figures of every board that has ranked rows. Returns them by preset, for the page."""
    appearance = looks(*([row.label for row in each.board.rows] for each in exhibits))
    found: dict[str, list[FigureOnPage]] = {}
    written: set[Path] = set()
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
                **({"time": time} if (time := time_figure(board)) else {}),
                **({"training": training} if (training := training_figure(board, appearance)) else {}),
                **capacity_figures(board, appearance),
                **({CLAIMS_FIGURE: claims} if (claims := claims_figure(each)) else {}),
                **exhibit_figures(each),
            }
            for name, (title, figure) in drawn.items():
                paths = save(figure, folder / f"{board.stem}__{name}")
                written |= set(paths)
                svg = next(path for path in paths if path.suffix == ".svg").read_text(encoding="utf-8")
                found.setdefault(board.preset, []).append(FigureOnPage(title, for_page(svg), paths[0].stem))
    _remove_others(folder, "*__*.*", written)
    return found
