"""From stored results to everything a reader gets: CSV, Markdown, LaTeX, figures, tables and the page."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from reports.boards import Board, build_boards
from reports.capacity_figures import capacity_figures
from reports.capacity_tables import decisions_caption, decisions_table
from reports.figures import accuracy_bars, accuracy_matrices
from reports.leaderboard import accuracy_table, below_table, caption, compact_table, to_csv, wide_table
from reports.page import FigureOnPage, render_checks, render_page
from reports.style import for_page, looks, paper_style, save
from reports.sweep_figures import sweep_figure
from reports.tables import board_tables, file_name
from reports.training import recipes_table
from reports.training_figure import training_figure
from results import Problem, Results
from results.files import whole_file

_WORDS = ("label", "verdict", "reason", "task", "never changed since", "recipe differs in", "source")
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
    """Write leaderboard.csv/.md/.tex, index.html, checks.html, tables/ and figures/ into `output`; an older report there goes.

    Equal records give equal bytes, but for the line of the page that says when it was made.
    """
    output = Path(output)
    boards = build_boards(results)
    table = wide_table(boards)
    figures = _figures(boards, output / "figures")
    _write(output / "leaderboard.csv", to_csv(table))
    _write(output / "leaderboard.md", markdown(boards))
    _write(output / "leaderboard.tex", latex(boards))
    written = set()
    for board in boards:
        for stem, frame in board_tables(board):
            path = output / "tables" / f"{stem}.csv"
            _write(path, to_csv(frame))
            written.add(path)
    for path in (output / "tables").glob("*__*.csv"):
        if path not in written:
            path.unlink()
    report = Report(output, boards, table, results.problems)
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    _write(report.page, render_page(boards, figures, report.problems, made, EMPTY))
    _write(output / "checks.html", render_checks(boards))
    return report


def _write(path: Path, text: str) -> None:
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def _figures(boards: list[Board], folder: Path) -> dict[str, list[FigureOnPage]]:
    """Draw and save the figures of every board that has ranked rows; return them by preset, for the page."""
    appearance = looks(row.label for board in boards for row in board.ranked)
    found: dict[str, list[FigureOnPage]] = {}
    written = set()
    with paper_style():
        for board in boards:
            if not board.ranked:
                continue
            drawn = {
                "accuracy": (
                    "Accuracy after the last task by attack, 95 % intervals",
                    accuracy_bars(board, appearance),
                ),
                **({"sweep": sweep} if (sweep := sweep_figure(board, appearance)) else {}),
                "matrices": ("Accuracy on each task after each task, mean over seeds", accuracy_matrices(board)),
                **({"training": training} if (training := training_figure(board, appearance)) else {}),
                **capacity_figures(board, appearance),
            }
            for name, (title, figure) in drawn.items():
                paths = save(figure, folder / f"{file_name(board.preset)}__{name}")
                written |= set(paths)
                svg = next(path for path in paths if path.suffix == ".svg").read_text(encoding="utf-8")
                found.setdefault(board.preset, []).append(FigureOnPage(title, for_page(svg), paths[0].stem))
    for path in folder.glob("*__*.*"):
        if path not in written:
            path.unlink()
    return found


# -- Markdown and LaTeX -----------------------------------------------------------------------------------------------


def markdown(boards: list[Board]) -> str:
    """All boards as GitHub tables."""
    parts = ["# Leaderboard"]
    if not boards:
        parts.append(EMPTY)
    for board in boards:
        parts.append(f"## {_md(board.preset)}")
        if board.ranked:
            parts += [_md(caption(board)), _md_table(compact_table(board))]
            every = f"every attack that was run is in tables/{file_name(board.preset)}__sweep.csv"
            parts += [_md(f"ACC in percent by attack; {every}:"), _md_table(accuracy_table(board))]
        else:
            parts.append("No row is ranked yet.")
        if board.below:
            parts += ["Below the line:", _md_table(below_table(board))]
        recipes = recipes_table(board)
        if len(recipes):
            parts += ["### Recipes of their own", _md_table(recipes)]
        decided = decisions_table(board)
        if len(decided):
            parts += ["### Capacity and decisions", _md(decisions_caption(board)), _md_table(decided)]
    return "\n\n".join(parts) + "\n"


def _md(text: str) -> str:
    """Text in which nothing is markup; a pipe would end a cell of a table even in code."""
    return re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", text)


def _md_table(frame: pd.DataFrame) -> str:
    # Numbers hold no markup; their brackets are easier to read as they are.
    escaped = frame.apply(lambda column: column.map(_md) if column.name in _WORDS else column)
    escaped.columns = pd.Index([_md(str(column)) for column in frame.columns])
    alignment = ["left" if column in _WORDS else "right" for column in frame.columns]
    return escaped.to_markdown(index=False, disable_numparse=True, colalign=alignment)


def latex(boards: list[Board]) -> str:
    """All boards as booktabs tables; needs `\\usepackage{booktabs}`."""
    parts = ["% needs \\usepackage{booktabs}; wide tables may need \\resizebox or a smaller font"]
    if not boards:
        parts.append(f"% {EMPTY}")
    for board in boards:
        title = _tex(board.preset)
        if board.ranked:
            label = f"tab:leaderboard-{file_name(board.preset)}"
            parts.append(
                _tex_table(compact_table(board), f"Leaderboard of \\texttt{{{title}}}. {_tex(caption(board))}", label)
            )
        else:
            parts.append(f"% {_comment(board.preset)}: no row is ranked yet")
        parts += [
            f"% below the line in {_comment(board.preset)}: {_comment(f'{row.label}: {row.reason}')}"
            for row in board.below
        ]
    return "\n\n".join(parts) + "\n"


_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "†": r"$\dagger$",
}  # fmt: skip


def _tex(text: str) -> str:
    return "".join(_TEX.get(character, character) for character in " ".join(text.split()))


def _comment(text: str) -> str:
    return " ".join(text.split())


def _tex_table(frame: pd.DataFrame, text: str, label: str) -> str:
    escaped = frame.map(lambda cell: re.sub(r"(?<![\w.-])-(?=\d)", "$-$", _tex(cell)))
    escaped.columns = pd.Index([_tex(str(column)) for column in frame.columns])
    styler = escaped.style.hide(axis="index")
    layout = "".join("l" if column in _WORDS else "r" for column in frame.columns)
    return styler.to_latex(
        hrules=True, column_format=layout, caption=text, label=label, position="t", position_float="centering"
    ).strip()
