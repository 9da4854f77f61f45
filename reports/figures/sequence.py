"""Forgetting over the sequence: accuracy on all tasks seen so far, after each task, a line per method."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from reports.boards.board import Board, Row
from reports.figures.panels import CHANCE, across, chance_line, highest
from reports.figures.placing import spread
from reports.figures.style import FAINT, PAGE, Look, Looks, shortened
from reports.numbers.metrics import CLEAN, Array, accuracy_matrix
from reports.numbers.statistics.bootstrap import bootstrap_matrices
from reports.numbers.statistics.intervals import Interval, interval
from reports.tables.words import short_name
from results.schema import ANY

LEFT, RIGHT, BETWEEN, ABOVE, BELOW = 0.46, 0.04, 0.14, 0.22, 0.38
"""Inches around and between the panels."""
NAMES, LONGEST_NAME = 1.36, 20
"""Inches for the names at the ends of the lines, and letters of a name."""
LINE = 8.2
"""Points from one name to the next."""
LOWEST_PANEL = 2.3
"""Inches."""
APART = 0.5
"""The part of the way to the next task that the marks of one task take."""
MOST_MARKS = 8
"""Marks of a line. Over more tasks it has marks and bars at some of them, and the next line at others."""
MOST_BANDS = 4
"""Lines up to which intervals are bands, if there are more tasks than marks."""


def sequence_attacks(board: Board) -> list[str]:
    """`clean` and the robust attack of the matrix, any-iterate if all ranked rows have that."""
    robust = board.robust_matrix
    if robust is None:
        return [CLEAN]
    every = all(robust + ANY in row.measures.matrices for row in board.ranked)
    return [CLEAN, robust + ANY if every else robust]


def seen_so_far(R: Array) -> Array:
    """mean_{j≤i} R[i, j] for every i: (..., T) from (..., T, T), NaN if a cell is missing. At the end it is ACC."""
    return np.stack([R[..., i, : i + 1].mean(-1) for i in range(R.shape[-1])], -1)


def sequence_table(board: Board) -> pd.DataFrame:
    """A line per ranked row, attack and task, counted from 0. A method that learns all tasks at once has only the last one.

    accuracy, low, high: on the tasks seen so far, mean over seeds, and its 95 % interval.
    """
    records = [
        (row.label, attack, after, *found)
        for attack in sequence_attacks(board)
        for row in board.ranked
        for after, found in _course(row, attack).items()
    ]
    return pd.DataFrame(records, columns=["label", "attack", "after_task", "accuracy", "low", "high"])


def _course(row: Row, attack: str) -> dict[int, tuple[float, float, float]]:
    """The accuracy on the tasks seen so far and its interval, by task."""
    outcomes = [seed.evidence.outcomes for seed in row.seeds]
    values = np.array([seen_so_far(accuracy_matrix(each, attack)) for each in outcomes])

    @cache
    def draws() -> list[Array]:
        """Per seed the course in each resample: (resamples, T)."""
        return [
            seen_so_far(bootstrap_matrices({attack: each.correct[attack]}, each.tasks)[attack]) for each in outcomes
        ]

    def bounds(after: int) -> Interval:
        return interval(values[:, after].tolist(), lambda: [drawn[:, after] for drawn in draws()])

    stored = np.flatnonzero(np.isfinite(values).all(0)).tolist()
    found = {after: bounds(after) for after in stored}
    return {after: (float(values[:, after].mean()), each.low, each.high) for after, each in found.items()}


def sequence_figure(board: Board, looks: Looks) -> tuple[str, Figure] | None:
    """Draw a panel for clean images and one for the attack: caption and figure; None for a single task."""
    table = sequence_table(board)
    if board.tasks < 2 or table.empty:
        return None
    attacks, rows = sequence_attacks(board), [row.label for row in board.ranked]
    high = max(LOWEST_PANEL, (len(rows) + 1) * LINE / 72)
    wide = (PAGE - LEFT - RIGHT - BETWEEN) / 2 - NAMES
    size = (LEFT + len(attacks) * (wide + NAMES + BETWEEN) - BETWEEN + RIGHT, ABOVE + high + BELOW)
    figure = Figure(figsize=size)
    panels = []
    for k, attack in enumerate(attacks):
        x = LEFT + k * (wide + NAMES + BETWEEN)
        axes = figure.add_axes((x / size[0], BELOW / size[1], wide / size[0], high / size[1]))
        _lines(axes, table[table["attack"] == attack], rows, looks, board)
        axes.set_title(short_name(attack, board), loc="left", fontsize=8, pad=4)
        axes.set_xlabel("after task")
        panels.append(axes)
    top = highest(*panels)
    for axes, attack in zip(panels, attacks, strict=True):
        axes.set_ylim(0, top)
        _names(axes, table[table["attack"] == attack], looks, board, (wide, high))
        axes.tick_params(labelleft=axes is panels[0])
    panels[0].set_ylabel("accuracy on the tasks seen so far (%)")
    return _caption(board, table), figure


def _has_bands(board: Board) -> bool:
    """True if intervals are bands, False if they are bars."""
    return board.tasks > MOST_MARKS and len(board.ranked) <= MOST_BANDS


def _caption(board: Board, table: pd.DataFrame) -> str:
    kind = "as bands" if _has_bands(board) else "as bars, which are moved apart sideways"
    kind += ", at some of the tasks" if board.tasks > MOST_MARKS and not _has_bands(board) else ""
    at_once = (table.groupby(["label", "attack"]).size() == 1).any()
    return f"Accuracy on all tasks seen so far, after each task, 95 % intervals {kind}" + (
        "; a single mark: all tasks were learned at once" if at_once else ""
    )


def _lines(axes: Axes, table: pd.DataFrame, rows: Sequence[str], looks: Looks, board: Board) -> None:
    _chance(axes, board)
    last, bands = board.tasks - 1, _has_bands(board)
    every = math.ceil(board.tasks / MOST_MARKS)
    for k, label in enumerate(rows):
        course, look = table[table["label"] == label], looks[label]
        x = course["after_task"].to_numpy() + (0 if bands else APART * ((k + 0.5) / len(rows) - 0.5))
        marked = slice(k % every if len(course) > every else 0, None, every)
        axes.plot(x, 100 * course["accuracy"], **look.line, markevery=marked, zorder=3)
        low, high = 100 * course["low"].to_numpy(), 100 * course["high"].to_numpy()
        if bands and len(course) > 1:
            axes.fill_between(x, low, high, color=look.colour, alpha=0.15, linewidth=0, zorder=2)
        else:
            axes.vlines(x[marked], low[marked], high[marked], color=look.colour, linewidth=0.7, alpha=0.75, zorder=2)
    axes.set_xlim(-APART / 2 - 0.02 * last, last + APART / 2 + 0.02 * last)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    across(axes)


def _chance(axes: Axes, board: Board) -> None:
    """Draw the accuracy of guessing on the tasks seen so far.

    The line bends where tasks have other numbers of classes, and where one head answers among all classes seen.
    """
    course = board.chances_so_far
    if len(course) != board.tasks or np.allclose(course, board.chance):
        chance_line(axes, board)
        return
    ends = -APART / 2 - 0.02 * board.tasks, board.tasks - 1 + APART / 2 + 0.02 * board.tasks
    places, heights = [ends[0], *range(board.tasks), ends[1]], [course[0], *course, course[-1]]
    axes.plot(places, 100 * np.array(heights), zorder=1, **CHANCE)


def _names(axes: Axes, table: pd.DataFrame, looks: Looks, board: Board, panel: tuple[float, float]) -> None:
    """Write the rows' names right of the panel, as near to the ends of their lines as there is room, with thin lines to them.

    panel: width and height in inches.
    """
    ends = table.groupby("label", sort=False).last()
    names = list(ends.index)
    heights = (100 * ends["accuracy"]).tolist()
    right, top = axes.get_xlim()[1], axes.get_ylim()[1]
    chance = [100 * board.chance] if np.isfinite(board.chance) else []
    points = 72 * panel[1] / top
    places = spread(points * np.array([*heights, *chance]), LINE, 2, points * top - 2) / points
    inch = (right - axes.get_xlim()[0]) / panel[0]
    start, stop, mark, word = (right + inches * inch for inches in (0.02, 0.15, 0.19, 0.24))
    for name, height, place in zip(names, heights, places, strict=False):
        look: Look = looks[name]
        axes.plot([start, stop], [height, place], color=look.colour, linewidth=0.6, clip_on=False)
        axes.plot([mark], [place], linestyle="", clip_on=False, **look.point)
        axes.text(word, place, shortened(name, LONGEST_NAME), fontsize=6.5, va="center_baseline")
    if chance:
        axes.plot([right, mark], [chance[0], places[-1]], clip_on=False, **CHANCE)
        axes.text(word, places[-1], "chance", fontsize=6.5, va="center_baseline", color=FAINT)
