"""Figures of methods that share one network's weights: the owners of every layer, and the capacity that is left."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, MultipleLocator

from reports.boards.board import Board, Row
from reports.figures.panels import across
from reports.figures.placing import LONGEST_LABEL, legend_columns
from reports.figures.structure import structure_figure
from reports.figures.style import INK, MOST_NAMED_TASKS, PAGE, Looks, shortened, task_colours
from reports.numbers.capacity import BASE, NOBODY, decisions, layer_names, owners
from reports.tables.capacity import has_other_seeds, shown_seed

MOST_PANELS = 4
MOST_LAYERS, MOST_LEVEL_NAMES = 16, 6
"""Layers that get a bar, and bars of a panel up to which their names need not be turned."""
LEGEND_LINE, OWNERS_LEGEND_WIDTH, LONGEST_NAME = 0.16, 6.6, 24
"""Inches of a line and of the whole legend; letters of a name."""
BASE_COLOUR = "#8a8f98"
FREE_LOOK: dict[str, Any] = {"facecolor": "none", "edgecolor": "#b4bac2", "hatch": "//////", "linewidth": 0}


def capacity_figures(board: Board, looks: Looks) -> dict[str, tuple[str, Figure]]:
    """The captions and figures by name, of the ranked rows with recorded capacity; empty if there are none."""
    rows = [row for row in board.ranked if shown_seed(row) is not None]
    if not rows:
        return {}
    seeds = ", first seed of each row" if has_other_seeds(rows) else ""
    layers = _most_layers(rows)
    some = f", {MOST_LAYERS} of {layers} layers" if layers > MOST_LAYERS else ""
    found = {
        "owners": (
            f"Owners of the weights of each layer, right after a task was learned{some}{seeds}",
            owners_figure(rows, board),
        ),
        "structure": structure_figure(board),
        "growth": (
            f"Weights that nobody owns yet, and parameters as a multiple (mu) of the start, right after each task{seeds}",
            growth_figure(rows, looks),
        ),
    }
    return {name: drawn for name, drawn in found.items() if drawn is not None}


# -- owners ----------------------------------------------------------------------------------------------------


def owners_figure(rows: Sequence[Row], board: Board) -> Figure:
    """Draw stacked bars, a line of panels per row and a panel per task: every layer's weights by owner, in percent.

    All places are in inches, so that panels have one size whatever their labels are.
    """
    tasks = shown(board.tasks, MOST_PANELS)
    colours = task_colours(board.tasks)
    left, right, between, above, high, top = 0.5, 0.06, 0.14, 0.44, 1.05, 0.05
    below = 0.5 if _most_layers(rows) > MOST_LEVEL_NAMES else 0.3
    legend = (
        0.34
        if board.tasks > MOST_NAMED_TASKS
        else LEGEND_LINE * math.ceil((board.tasks + 1) / _owners_legend_columns(board))
    )
    wide = (PAGE - left - right - (len(tasks) - 1) * between) / len(tasks)
    height = top + legend + len(rows) * (above + high) + below
    figure = Figure(figsize=(PAGE, height))
    for line, row in enumerate(rows):
        y = height - top - legend - (line + 1) * (above + high)
        figure.text(left / PAGE, (y + high + 0.2) / height, row.label, fontsize=8, fontweight="bold")
        for k, task in enumerate(tasks):
            place = (left + k * (wide + between), y, wide, high)
            axes = figure.add_axes((place[0] / PAGE, place[1] / height, place[2] / PAGE, place[3] / height))
            _owner_bars(axes, row, task, colours, first=k == 0, lowest=line == len(rows) - 1)
    _owner_legend(figure, board, colours, left, top, has_base=any(_has_base(row) for row in rows))
    return figure


def _has_base(row: Row) -> bool:
    seed = shown_seed(row)
    return seed is not None and bool((owners(seed.evidence.facts)["owner"] == BASE).any())


def _most_layers(rows: Sequence[Row]) -> int:
    return max(owners(seed.evidence.facts)["layer"].nunique() for row in rows if (seed := shown_seed(row)))


def shown(count: int, most: int) -> list[int]:
    """At most `most` of the numbers 0..count-1: the first, the last and some evenly between."""
    return sorted({round(place) for place in np.linspace(0, count - 1, min(count, most))})


def _owner_bars(axes: Axes, row: Row, task: int, colours: Sequence[str], *, first: bool, lowest: bool) -> None:
    seed = shown_seed(row)
    assert seed is not None
    facts = seed.evidence.facts
    counts = _counts(owners(facts), task)
    if counts.empty:
        axes.set_axis_off()
        return
    names = layer_names(list(counts.index), seed.run.identity.get("backbone"))
    kept = shown(len(counts), MOST_LAYERS)
    shares = 100 * counts.div(counts.sum(axis=1), axis=0).to_numpy()[kept]
    edges = np.array([edge for k in range(len(kept)) for edge in (k - 0.4, k + 0.4)])
    low = np.zeros(len(kept))
    for column, owner in enumerate(counts.columns):
        high = low + shares[:, column]
        look: dict[str, Any] = FREE_LOOK
        if owner != NOBODY:
            look = {
                "facecolor": BASE_COLOUR if owner == BASE else colours[int(owner)],
                "edgecolor": "white",
                "linewidth": 0.3,
            }
        # One outline for all layers; nothing is drawn in the gaps between the bars.
        axes.stairs(_with_gaps(high), edges, baseline=_with_gaps(low), fill=True, **look)
        low = high
    mu = decisions(facts)["mu"].get(task, math.nan)
    axes.set_title(f"after task {task}, mu {mu:.3g}", fontsize=7, pad=3, loc="left", color=INK)
    axes.set_xlim(-0.7, len(kept) - 0.3)
    axes.set_ylim(0, 100)
    axes.set_yticks([0, 50, 100], None if first else [""] * 3)
    axes.set_xticks(range(len(kept)), [names[k] for k in kept] if lowest else [""] * len(kept), fontsize=6)
    axes.tick_params(axis="x", length=0, pad=2, rotation=90 if len(kept) > MOST_LEVEL_NAMES else 0)
    if first:
        axes.set_ylabel("weights (%)", labelpad=2)
    if lowest and names[0].isdigit():
        axes.set_xlabel("layer", labelpad=1)


def _counts(frame: pd.DataFrame, task: int) -> pd.DataFrame:
    """The numbers of weights after the task, by layer in network order and by owner: `BASE`, tasks, then `NOBODY`."""
    of_task = frame[frame["task"] == task]
    found = set(of_task["owner"])
    owned = [*({BASE} & found), *sorted(found - {BASE, NOBODY}, key=int)]
    table = of_task.pivot_table(
        index="layer", columns="owner", values="weights", aggfunc="sum", fill_value=0, sort=False
    )
    return table.reindex(columns=[*owned, NOBODY], fill_value=0)


def _with_gaps(values: np.ndarray) -> np.ndarray:
    """The values with a NaN between neighbours."""
    return np.stack([values, np.full(len(values), np.nan)], 1).ravel()[:-1]


def _task_names(board: Board) -> list[str]:
    names = [*board.task_names, *[""] * board.tasks][: board.tasks]
    return [shortened(f"task {task} {name}".strip(), LONGEST_NAME) for task, name in enumerate(names)]


def _owners_legend_columns(board: Board) -> int:
    """The number of entries of the legend that fit side by side: columns are as wide as their longest entry."""
    widths = [0.42 + 0.058 * len(name) for name in (*_task_names(board), NOBODY)]
    return len(widths) if sum(widths) < OWNERS_LEGEND_WIDTH else int(OWNERS_LEGEND_WIDTH / max(widths))


def _owner_legend(
    figure: Figure, board: Board, colours: Sequence[str], left: float, top: float, *, has_base: bool
) -> None:
    width, height = figure.get_size_inches()
    handles, columns = [Patch(**FREE_LOOK, label="free")], 1
    if has_base:
        handles.append(Patch(color=BASE_COLOUR, label=BASE))
    if board.tasks <= MOST_NAMED_TASKS:
        handles = [Patch(color=colours[k], label=name) for k, name in enumerate(_task_names(board))] + handles
        columns = _owners_legend_columns(board)
    else:
        _colour_scale(
            figure.add_axes(((left + 1.5) / width, 1 - (top + 0.12) / height, 2.6 / width, 0.1 / height)), colours
        )
    # A legend is filled column by column; it is read line by line.
    by_lines = [handles[k] for column in range(columns) for k in range(column, len(handles), columns)]
    figure.legend(
        handles=by_lines, loc="upper left", bbox_to_anchor=(left / width, 1 - top / height), borderaxespad=0, borderpad=0,
        ncols=columns, handlelength=1.4, columnspacing=1.4, labelspacing=0.35,
    )  # fmt: skip


def _colour_scale(axes: Axes, colours: Sequence[str]) -> None:
    axes.imshow([range(len(colours))], cmap=ListedColormap(list(colours)), aspect="auto", interpolation="nearest")
    axes.set_yticks([])
    axes.set_xticks(shown(len(colours), 6))
    axes.tick_params(length=0, pad=2, labelsize=6)
    axes.text(-0.02, 0.5, "owned by task", transform=axes.transAxes, ha="right", va="center", fontsize=7)
    for spine in axes.spines.values():
        spine.set_visible(False)


# -- capacity that is left -----------------------------------------------------------------------------------------------------


def growth_figure(rows: Sequence[Row], looks: Looks) -> Figure:
    """Draw two panels over tasks, a line per row: the share of free weights, and the width multiplier mu."""
    names = [shortened(row.label, LONGEST_LABEL) for row in rows]
    columns = legend_columns(names)
    figure = Figure(figsize=(PAGE, 1.95 + 0.15 * math.ceil(len(rows) / columns)), layout="constrained")
    free, size = figure.subplots(1, 2)
    for k, row in enumerate(rows):
        seed = shown_seed(row)
        assert seed is not None
        frame = decisions(seed.evidence.facts)
        # Equal values lie on top of each other: the first is drawn wide, so that it is seen behind the others.
        style = looks[row.label].line | {"linewidth": 1 + 2 * (1 - (k + 1) / len(rows)), "clip_on": False}
        free.plot(frame.index, 100 * frame["free_share"], label=names[k], **style)
        size.plot(frame.index, frame["mu"], **style)
    free.set_ylabel("free weights (%)")
    free.set_ylim(0, 100)
    size.set_ylabel("size of the network, mu")
    size.set_ylim(0, max(1.6, size.get_ylim()[1]))
    size.yaxis.set_major_locator(MultipleLocator(0.5))
    for axes in (free, size):
        axes.set_xlabel("after task")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        across(axes)
    figure.legend(loc="outside upper center", ncols=columns, handlelength=2, columnspacing=1.6)
    return figure
