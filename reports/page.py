"""The report page: one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from reports import capacity_tables, check_guide, leaderboard, training
from reports.boards import Board
from reports.checks import COSTS
from reports.verdicts import CHECKS
from results import Problem

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class FigureOnPage:
    """title; svg: an <svg> element; stem: the name of its files under figures/."""

    title: str
    svg: str
    stem: str


def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render_checks(boards: Sequence[Board]) -> str:
    """The page of checks as HTML: every row by every check, what was found, and what each check asks."""
    return (
        _environment()
        .get_template("checks.html")
        .render(
            boards=boards,
            checks=CHECKS,
            costs=COSTS,
            signs=check_guide.SIGNS,
            status_of=check_guide.status_of,
            label=leaderboard.label_of,
        )
    )


def render_page(
    boards: Sequence[Board],
    figures: Mapping[str, Sequence[FigureOnPage]],
    problems: Sequence[Problem],
    made: str,
    empty: str,
) -> str:
    """The page as HTML. Everything from stored records is escaped; figures are inlined."""
    environment = _environment()
    environment.globals["zip"] = zip
    return environment.get_template("index.html").render(
        boards=boards,
        figures={
            preset: [(figure.title, Markup(figure.svg), figure.stem) for figure in found]
            for preset, found in figures.items()
        },
        problems=[(str(problem.path), problem.reason) for problem in problems],
        made=made,
        empty=empty,
        caption=leaderboard.caption,
        compact=leaderboard.compact_table,
        below=leaderboard.below_table,
        accuracies=leaderboard.accuracy_table,
        recipes=training.recipes_table,
        decisions=capacity_tables.decisions_table,
        decisions_caption=capacity_tables.decisions_caption,
    )
