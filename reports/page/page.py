"""The pages of a report as HTML: the leaderboard, one self-contained file, and the checks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import nan
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from reports.boards import version
from reports.boards.board import Board
from reports.checks.check import COST_CLASSES
from reports.checks.verdicts import CHECKS
from reports.exhibits.pages import ExhibitOnPage
from reports.figures.style import FigureOnPage
from reports.page import check_guide
from reports.page.rows import accuracies, attack_groups, in_percent, page_board
from reports.tables import attacks as attack_tables
from reports.tables import capacity as capacity_tables
from reports.tables import leaderboard, training
from reports.tables.words import amount
from results import Problem

TEMPLATES = Path(__file__).parent / "templates"
MOST_DECIMAL_TASKS = 8
"""Tasks up to which the cells of a matrix have room for a decimal."""


def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"zip": zip, "most_decimal_tasks": MOST_DECIMAL_TASKS}
    environment.filters |= {"percent": in_percent, "pairs": _pairs, "cell": _matrix_cell, "amount": _amount}
    return environment


def render_checks(boards: Sequence[Board]) -> str:
    """The page of checks: every row by every check, the reasons, and the checks in words."""
    return (
        _templates()
        .get_template("checks.html")
        .render(
            boards=boards,
            checks=CHECKS,
            costs=COST_CLASSES,
            signs=check_guide.SIGNS,
            status_of=check_guide.status_of,
            label=leaderboard.label_of,
        )
    )


def render_page(
    boards: Sequence[Board],
    entries: Mapping[str, Mapping[str, Any]],
    figures: Mapping[str, Sequence[FigureOnPage]],
    exhibits: Mapping[str, Sequence[ExhibitOnPage]],
    problems: Sequence[Problem],
    made: str,
    empty: str,
) -> str:
    """The page of the leaderboard. All text from stored records is escaped; figures are inlined.

    Boards with a row of one's own come first, those of published rows alone below; each leads with its first figure.

    entries: the rows' JSON entries by name.
    figures, exhibits: by preset.
    problems: stored files that could not be used.
    made: the time of the report, as text.
    empty: the text if there is no board.
    """
    own_first = sorted(boards, key=lambda board: board.is_published)
    shown = [page_board(board, entries) for board in own_first]
    return (
        _templates()
        .get_template("index.html")
        .render(
            boards=shown,
            figures={
                preset: [(figure.title, Markup(figure.svg), figure.stem) for figure in found]
                for preset, found in figures.items()
            },
            exhibits=exhibits,
            problems=[(str(problem.path), problem.reason) for problem in problems],
            made=made,
            empty=empty,
            data=_script_data([accuracies(board) for board in shown]),
            attack_groups=attack_groups(shown),
            signs=check_guide.SIGNS,
            caption=leaderboard.caption,
            published_note=version.published_note,
            short_name=leaderboard.short_name,
            accuracies=leaderboard.accuracy_table,
            quality=attack_tables.quality_for_reading,
            quality_caption=attack_tables.quality_caption,
            recipes=training.recipes_table,
            decisions=capacity_tables.decisions_table,
            decisions_caption=capacity_tables.decisions_caption,
        )
    )


def _script_data(value: object) -> Markup:
    """JSON for a <script> element: no text in it can end the element or begin a comment."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _pairs(values: object, prefix: str = "") -> list[tuple[str, str]]:
    """Flatten nested settings to (dotted name, text): {"a": {"b": 1}} → [("a.b", "1")]."""
    if not isinstance(values, Mapping):
        return []
    found: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            found += _pairs(value, f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", value if isinstance(value, str) else json.dumps(value)))
    return found


def _matrix_cell(value: float | None, tasks: int) -> str:
    """An accuracy in a matrix, in percent, without decimals if there are many tasks."""
    return in_percent(value) if tasks <= MOST_DECIMAL_TASKS or value is None else f"{100 * value:.0f}"


def _amount(value: float | None) -> str:
    return amount(nan if value is None else value)
