"""The thesis' bar chart, accuracy by eps and PGD steps, with published bars beside ours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from reports.boards.board import Row
from reports.exhibits.exhibits import Bar, BarGroup, Exhibits, trained_eps
from reports.exhibits.steps_table import steps_caption
from reports.figures.style import FAINT, INK, PAGE, PALETTE, shortened
from reports.numbers.wording import over_255
from reports.tables.words import percent

THESIS_NAMES = {"cmat": "CMAT", "packnet": "PackNet"}
"""The thesis' names for its methods."""
STEPS_FIGURE = "exhibit_pgd_steps"
"""The name of the bar chart among the figures of a board."""
BETWEEN = 0.9
"""Room between groups, in widths of a bar."""
FEWEST_SLOTS = 16.0
"""Widths of a bar on a line. A line with fewer bars leaves room at its right, so that no bar is a block."""
PUBLISHED_HATCH = "/////"
DIGIT = 0.69
"""Mean width of the digits and signs of a value, in units of its font size."""


def exhibit_figures(exhibits: Exhibits) -> dict[str, tuple[str, Figure]]:
    """The caption and the figure by name; empty for a board that has none."""
    figure = steps_figure(exhibits)
    return (
        {}
        if figure is None
        else {STEPS_FIGURE: (f"The thesis' bar chart. {steps_caption(exhibits)}".rstrip("."), figure)}
    )


def steps_figure(exhibits: Exhibits) -> Figure | None:
    """Draw a line of bars per row, three bars per eps, published ones hollow beside them; None if no bar is ours."""
    if not exhibits.groups:
        return None
    lines = [list(found) for _, found in groupby(exhibits.groups, key=lambda group: (group.method, id(group.row)))]
    slots = max(FEWEST_SLOTS, *(_width(line) for line in lines))
    figure = Figure(figsize=(PAGE, 0.45 + 1.75 * len(lines)), layout="constrained")
    panels = figure.subplots(len(lines), 1, sharey=True, squeeze=False)[:, 0]
    size = min(6.5, 72 * (PAGE - 0.6) / slots / (5 * DIGIT))
    for axes, line in zip(panels, lines, strict=True):
        _line(axes, line, exhibits, slots, size)
    top = max(axes.dataLim.y1 for axes in panels)
    panels[0].set_ylim(0, 10 * math.ceil((top + 9) / 10))
    panels[-1].set_xlabel("PGD Difficulty")
    figure.supylabel("Accuracy", fontsize=7.5)
    handles = _legend(exhibits)
    figure.legend(handles=handles, loc="outside upper right", ncols=len(handles), handlelength=1.5, columnspacing=1.3)
    return figure


def _width(line: Sequence[BarGroup]) -> float:
    """The width of a line, in widths of a bar."""
    return sum(len(_bars(group)) for group in line) + BETWEEN * (len(line) + 1)


def _bars(group: BarGroup) -> list[tuple[Bar, bool]]:
    """The bars from left to right, each with True for the published value: ours, then the published one of the same steps."""
    return [
        (bar, published)
        for bar in group.bars
        for published in ((False, True) if group.printed else (False,))
        if group.has_ours or published
    ]


def _line(axes: Axes, line: Sequence[BarGroup], exhibits: Exhibits, slots: float, size: float) -> None:
    place, ticks = BETWEEN, []
    colours = dict(zip(exhibits.steps, PALETTE, strict=False))
    for group in line:
        bars = _bars(group)
        for k, (bar, published) in enumerate(bars):
            _bar(axes, place + k + 0.5, bar, colours[bar.steps], size, published=published)
        ticks.append((place + len(bars) / 2, _tick(group)))
        place += len(bars) + BETWEEN
    chance = exhibits.board.chance
    if math.isfinite(chance):
        axes.axhline(100 * chance, color=INK, linestyle=(0, (4, 3)), linewidth=0.8, zorder=3)
    axes.set_xticks([x for x, _ in ticks], [words for _, words in ticks])
    axes.set_xlim(0, slots)
    axes.tick_params(axis="x", length=0)
    axes.yaxis.set_major_formatter("{x:.0f}%")
    axes.yaxis.grid(True, color=FAINT, alpha=0.3, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.set_title(_title(line[0].row, line[0].method), loc="left", fontsize=7.5, fontweight="bold", pad=3)


def _bar(axes: Axes, x: float, bar: Bar, colour: str, size: float, *, published: bool) -> None:
    value = 100 * (bar.published if published else bar.accuracy)
    if value != value:
        axes.text(x, 1, "n/a", ha="center", va="bottom", fontsize=size, color=FAINT)
        return
    top = value
    if published:
        axes.bar(x, value, 0.84, facecolor="none", edgecolor=colour, hatch=PUBLISHED_HATCH, linewidth=0.8)
    else:
        axes.bar(x, value, 0.92, color=colour, linewidth=0)
        low, high = 100 * bar.bounds.low, 100 * bar.bounds.high
        if low == low:
            errors = [[max(0.0, value - low)], [max(0.0, high - value)]]
            axes.errorbar(x, value, errors, fmt="none", ecolor=INK, elinewidth=0.7, capsize=1.6)
            top = max(value, high)
    words = f"{percent(value / 100)}%"
    axes.text(x, top + 0.8, words, ha="center", va="bottom", fontsize=size, color=INK, zorder=4)


def _tick(group: BarGroup) -> str:
    words = [f"{THESIS_NAMES.get(group.method, group.method)} ε={over_255(group.eps)}"]
    if group.is_misprinted:
        words.append(f"(in print: {group.printed.partition('eps=')[2]})")
    return " ".join(words)


def _title(row: Row | None, method: str) -> str:
    if row is None:
        return f"{THESIS_NAMES.get(method, method)}: no ranked row here, published values alone"
    trained = trained_eps(row)
    at = f", trained at ε={over_255(trained)}" if trained is not None else ""
    return f"{shortened(row.label, 60)}{at}"


def _legend(exhibits: Exhibits) -> list[Patch | Line2D]:
    handles: list[Patch | Line2D] = [
        Patch(facecolor=colour, label=f"PGD({steps})") for steps, colour in zip(exhibits.steps, PALETTE, strict=False)
    ]
    if any(group.printed for group in exhibits.groups):
        handles.append(
            Patch(
                facecolor="none",
                edgecolor=INK,
                hatch=PUBLISHED_HATCH,
                linewidth=0.8,
                label="published (trained at the ε of the attack)",
            )
        )
    if math.isfinite(exhibits.board.chance):
        handles.append(Line2D([], [], color=INK, linestyle=(0, (4, 3)), linewidth=0.8, label="chance"))
    return handles
