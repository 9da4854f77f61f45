"""The cost of robustness: accuracy under the worst case against stored megabytes and against seconds of training."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from reports.boards.board import Board
from reports.figures.panels import across, chance_line, highest
from reports.figures.placing import LETTER, beside, spread
from reports.figures.style import FAINT, INK, PAGE, Looks, shortened
from reports.numbers.metrics import WORST, Array
from reports.tables.words import amount

STORED, SECONDS = "stored_mb", "seconds"
AXIS_TITLES = {STORED: "stored after the last task (MB)", SECONDS: "seconds of training, prerequisites included"}
LEFT, RIGHT, BETWEEN, ABOVE, HIGH = 0.46, 0.08, 0.2, 0.1, 2.5
"""Inches around and between the panels, and the height of one."""
LOG_FROM = 5
"""The axis is logarithmic if the largest cost is so many times the smallest."""
FONT, LONGEST_NAME, NOTE_LINE, NOTE_LETTERS = 6.5, 24, 0.13, 62
"""Points and letters of a name; inches and letters of a line of the note."""
APART, MARK = 1.6, 2.4
"""Points between neighbours that cost the same, and half the size of a mark."""
LINE = 0.8
"""Points on either side of a line that words keep away from."""
FAR = 4.0
"""Points from its mark beyond which a name gets a line that leads to it."""
CAPTION = (
    "Accuracy after the last task under the worst of all attacks against the megabytes that a deployment must store and against "
    "seconds of training (with those of the runs that a method needs first, as if they were run for it alone), 95 % intervals; "
    "grey: the Pareto front of the estimates; points at one place are moved apart sideways"
)
FRONT: dict[str, Any] = {"color": FAINT, "linewidth": 0.9, "drawstyle": "steps-post"}


def cost_table(board: Board) -> pd.DataFrame:
    """A line per ranked row; NaN if a cost was not recorded.

    accuracy, low, high: ACC of `worst` and its interval, in [0, 1].
    stored_mb: megabytes that a deployment must keep.
    seconds: of training and, if they were recorded, of the runs that it needs first, as if they were run for it alone.
    knows_prerequisites: True if those were recorded.
    """
    records = []
    for row in board.ranked:
        bounds, value = row.measures.bounds(f"ACC_lopezpaz2017 {WORST}"), row.measures.value
        before = value("prerequisite_seconds")
        seconds = value("train_seconds") + (before if math.isfinite(before) else 0)
        known = math.isfinite(before)
        records.append((row.label, row.acc, bounds.low, bounds.high, value(STORED), seconds, known))
    columns = ["label", "accuracy", "low", "high", STORED, SECONDS, "knows_prerequisites"]
    return pd.DataFrame(records, columns=columns)


def pareto_front(costs: Sequence[float] | Array, accuracies: Sequence[float] | Array) -> list[int]:
    """The points, by cost, that no other one beats: none costs less and is as accurate, none costs as much and is better."""
    best = -math.inf
    found: list[int] = []
    order = sorted(range(len(costs)), key=lambda k: (costs[k], -accuracies[k]))
    for k in order:
        equal = found and (costs[k], accuracies[k]) == (costs[found[-1]], accuracies[found[-1]])
        if accuracies[k] > best or equal:
            found.append(k)
            best = accuracies[k]
    return found


def cost_figure(board: Board, looks: Looks) -> tuple[str, Figure] | None:
    """Draw a panel per cost that two ranked rows have: caption and figure; None if there is no such cost."""
    table = cost_table(board)
    costs = [cost for cost in (STORED, SECONDS) if table[cost].notna().sum() > 1]
    if not costs:
        return None
    notes = {cost: textwrap.wrap(_note_under(table, cost), NOTE_LETTERS, break_on_hyphens=False) for cost in costs}
    below = 0.4 + NOTE_LINE * max(map(len, notes.values()))
    wide = (PAGE - LEFT - RIGHT - BETWEEN) / 2
    width, height = LEFT + len(costs) * (wide + BETWEEN) - BETWEEN + RIGHT, ABOVE + HIGH + below
    figure = Figure(figsize=(width, height))
    places = [LEFT + k * (wide + BETWEEN) for k in range(len(costs))]
    panels = [figure.add_axes((x / width, below / height, wide / width, HIGH / height)) for x in places]
    found = {cost: table[table[cost].notna()].reset_index(drop=True) for cost in costs}
    at = {cost: _axis(axes, found[cost], cost, 72 * wide) for axes, cost in zip(panels, costs, strict=True)}
    fronts = [_points(axes, found[cost], cost, at[cost], looks) for axes, cost in zip(panels, costs, strict=True)]
    for axes in panels:
        chance_line(axes, board)
    top = highest(*panels)
    for axes, cost, x, front in zip(panels, costs, places, fronts, strict=True):
        axes.set_ylim(0, top)
        axes.tick_params(labelleft=axes is panels[0])
        across(axes)
        _names(axes, found[cost], at[cost], front, board, 72 * np.array([wide, HIGH]))
        figure.text(x / width, 0.04 / height, "\n".join(notes[cost]), fontsize=6, va="bottom", linespacing=1.3)
    panels[0].set_ylabel("accuracy, worst of all attacks (%)")
    return CAPTION, figure


def _note_under(table: pd.DataFrame, cost: str) -> str:
    """The rows that are left out of a panel, and those whose prerequisites are unknown."""
    lacking = table[table[cost].isna()]["label"].tolist()
    words = [f"Not recorded, left out: {', '.join(lacking)}."] if lacking else []
    alone = table[table[cost].notna() & ~table["knows_prerequisites"]]["label"].tolist() if cost == SECONDS else []
    words += [f"Prerequisites not recorded, without them: {', '.join(alone)}."] if alone else []
    return " ".join(words)


def _axis(axes: Axes, found: pd.DataFrame, cost: str, width: float) -> Array:
    """Scale one axis of costs. Returns the places of the points on it, moved apart, as parts (n,) of its width in points."""
    costs = found[cost].to_numpy()
    logarithmic = costs.min() > 0 and costs.max() / costs.min() >= LOG_FROM
    low, high = (costs.min() / 1.25, costs.max() * 1.25) if logarithmic else (0.0, 1.12 * costs.max() or 1.0)
    if logarithmic:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
        low, high, costs = np.log(low), np.log(high), np.log(costs)
        axes.set_xlim(np.exp(low), np.exp(high))
    else:
        axes.set_xlim(low, high)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: amount(value)))
    axes.set_xlabel(AXIS_TITLES[cost])
    parts = (costs - low) / (high - low)
    return spread(width * parts, APART) / width


def _points(axes: Axes, found: pd.DataFrame, cost: str, at: Array, looks: Looks) -> list[int]:
    """Draw marks, intervals and the front. Returns the points on the front."""
    accuracies = 100 * found["accuracy"].to_numpy()
    front = pareto_front(found[cost].to_numpy(), accuracies)
    x = axes.transAxes.transform(np.column_stack([at, at]))
    x = axes.transData.inverted().transform(x)[:, 0]
    axes.plot([*x[front], axes.get_xlim()[1]], [*accuracies[front], accuracies[front[-1]]], **FRONT, zorder=1)
    for k, label in enumerate(found["label"]):
        look = looks[label]
        axes.vlines(x[k], 100 * found["low"][k], 100 * found["high"][k], color=look.colour, linewidth=0.7, alpha=0.7)
        axes.plot(x[k], accuracies[k], linestyle="", **look.point, zorder=3)
    return front


def _names(axes: Axes, found: pd.DataFrame, at: Array, front: Sequence[int], board: Board, size: Array) -> None:
    """Write the names beside their points, with a thin line to those that found no room close by.

    size: of the panel, (2,) points.
    """
    names = [shortened(label, LONGEST_NAME) for label in found["label"]]
    point = size[1] * 100 / axes.get_ylim()[1]
    x, y, low, high = at * size[0], *(point * found[column].to_numpy() for column in ("accuracy", "low", "high"))
    anchors = np.column_stack([x, y])
    marks = np.concatenate([anchors - MARK, anchors + MARK], 1)
    bars = np.column_stack([x - LINE, low, x + LINE, high])
    ends = np.append(x[front[1:]], size[0])
    treads = np.column_stack([x[front], y[front] - LINE, ends, y[front] + LINE])
    risers = np.column_stack([x[front[1:]] - LINE, y[front[:-1]], x[front[1:]] + LINE, y[front[1:]]])
    obstacles = [marks, bars[np.isfinite(bars).all(1)], treads, risers]
    if math.isfinite(board.chance):
        height = point * board.chance
        axes.text(
            1, height / size[1], "chance", transform=axes.transAxes, fontsize=6, color=FAINT, ha="right", va="bottom"
        )
        word = LETTER * 6 * len("chance")
        obstacles.append(
            np.array([[0, height - LINE, size[0], height + LINE], [size[0] - word, height, size[0], height + 8]])
        )
    sizes = np.array([(LETTER * FONT * len(name), 1.2 * FONT) for name in names])
    corners = beside(anchors, sizes, np.concatenate(obstacles), (2, 2, size[0] - 2, size[1] - 2))
    for name, anchor, corner, extent in zip(names, anchors, corners, sizes, strict=True):
        nearest = np.clip(anchor, corner, corner + extent)
        if np.linalg.norm(nearest - anchor) > MARK + FAR:
            ends = np.array([anchor, nearest]) / size
            axes.plot(*ends.T, transform=axes.transAxes, color=INK, linewidth=0.4, alpha=0.6, zorder=2)
        x, y = (corner + extent / 2) / size
        axes.text(x, y, name, transform=axes.transAxes, fontsize=FONT, ha="center", va="center_baseline", zorder=4)
