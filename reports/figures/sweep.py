"""Robust accuracy over the settings of an attack: steps, step size and eps, a line per method."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reports.boards.board import Board, Row
from reports.boards.sweeps import EPS, STEP_SIZE, STEPS, Curve, compared, curves, ranking_of, strongest, worsts
from reports.figures.panels import CHANCE, across, chance_line, highest
from reports.figures.placing import LONGEST_LABEL, legend_columns
from reports.figures.style import INK, PAGE, Looks, shortened
from reports.numbers.metrics import CLEAN
from reports.numbers.wording import in_eps

FINAL_LINE: dict[str, Any] = {"linestyle": (0, (2, 1.5)), "linewidth": 0.7}
WORST_LINE: dict[str, Any] = {"linestyle": (0, (1, 1.2)), "linewidth": 0.8}
APART, MOST_APART = 0.4, 0.14
"""The room that the methods' points at one place take: a part of the way to the next place, and at most a part of the axis."""
MOST_SECOND_LINES = 8
"""Methods up to which each has a second line. More could not be told apart."""
LETTERS = {3: 38, 2: 56, 1: 110}
"""Letters of an axis title that fit under a panel, by the number of panels."""


def sweep_figure(board: Board, looks: Looks) -> tuple[str, Figure] | None:
    """Draw the sweeps: caption and figure; None if no ranked row has attacks that differ in steps, step size or eps alone."""
    stored = {name for row in board.ranked for name in row.measures.matrices}
    found = curves((attack for attack in board.attacks.values() if attack.name in stored), ranking_of(board))
    if not found:
        return None
    handles = _legend(board, looks, {curve.field for curve in found})
    columns = legend_columns([str(handle.get_label()) for handle in handles])
    figure = Figure(figsize=(PAGE, 2.2 + 0.15 * math.ceil(len(handles) / columns)), layout="constrained")
    panels = figure.subplots(1, len(found), sharey=True, squeeze=False)[0]
    for axes, curve in zip(panels, found, strict=True):
        _panel(axes, curve, board, looks)
        _axis(axes, curve, LETTERS[len(found)])
    figure.align_xlabels(panels)
    panels[0].set_ylabel("accuracy after the last task (%)")
    panels[0].set_ylim(0, highest(*panels))
    figure.legend(
        handles=handles,
        loc="outside upper center",
        ncols=columns,
        handlelength=2.2,
        columnspacing=1.4,
        labelspacing=0.3,
    )
    return _caption(found), figure


def _caption(found: Sequence[Curve]) -> str:
    words = [{STEPS: "steps", STEP_SIZE: "step size", EPS: "eps"}[curve.field] for curve in found]
    over = ", ".join(words[:-1]) + (" and " if len(words) > 1 else "") + words[-1]
    kinds = " and ".join(sorted({curve.kind for curve in found}))
    return (
        f"Accuracy under {kinds} over {over}, any-iterate, 95 % intervals, on the images that all points of a panel cover; "
        "points at one place are moved apart sideways"
    )


def _panel(axes: Axes, curve: Curve, board: Board, looks: Looks) -> None:
    """Draw a line per ranked row with its intervals, and a thin second one: the final iterate, or the worst of all attacks."""
    places, rows = _places(curve), board.ranked
    chance_line(axes, board)
    apart = min(APART * min(np.diff(places)), MOST_APART * (places[-1] - places[0]))
    for k, row in enumerate(rows):
        look = looks[row.label].line
        x = places + apart * ((k + 0.5) / len(rows) - 0.5)
        first, second = _outcomes(curve, row, board)
        found = compared(row, [name for name in (*first, *second) if name])
        there = [n for n, name in enumerate(first) if name in found]
        axes.plot(x[there], [100 * found[first[n]][0] for n in there], **look, zorder=3)
        bounds = [found[first[n]][1] for n in there]
        low, high = [100 * each.low for each in bounds], [100 * each.high for each in bounds]
        axes.vlines(x[there], low, high, color=look["color"], linewidth=0.7, alpha=0.7, zorder=2)
        if len(rows) <= MOST_SECOND_LINES:
            there = [n for n, name in enumerate(second) if name in found]
            style = FINAL_LINE if curve.field == STEP_SIZE else WORST_LINE
            axes.plot(x[there], [100 * found[second[n]][0] for n in there], color=look["color"], **style, zorder=2)


def _outcomes(curve: Curve, row: Row, board: Board) -> tuple[list[str], list[str]]:
    """The outcomes of the row's line and of its second one, per place; "" for none."""
    stored, attacks = row.measures.matrices, list(curve.attacks.values())
    first = [strongest(attack, stored) for attack in attacks]
    if curve.field == EPS:
        worst = {threat: name for name, threat in worsts(board).items()}
        return [CLEAN, *first], ["", *(worst.get(attack.threat, "") for attack in attacks)]
    if curve.field == STEP_SIZE:
        return first, [attack.name if attack.name != name else "" for attack, name in zip(attacks, first, strict=True)]
    return first, [""] * len(first)


def _values(curve: Curve) -> list[Fraction]:
    """The values of the field along a panel. Those of eps begin with 0, which stands for clean images."""
    return [*([Fraction(0)] if curve.field == EPS else []), *curve.attacks]


def _places(curve: Curve) -> np.ndarray:
    """The places of the values: steps and step sizes by their power of two, eps in units of 1/255."""
    plain = np.array([float(value) for value in _values(curve)])
    return 255 * plain if curve.field == EPS else np.log2(plain)


def _axis(axes: Axes, curve: Curve, letters: int) -> None:
    title = {STEPS: f"{curve.kind} steps", STEP_SIZE: f"{curve.kind} step size", EPS: "eps (/255), 0: clean"}
    places = _places(curve)
    axes.set_xticks(places, [_tick(curve.field, value) for value in _values(curve)])
    if curve.field == EPS:
        axes.tick_params(axis="x", labelsize=6)  # small eps stand close together
    axes.set_xlabel("\n".join([title[curve.field], *textwrap.wrap(curve.fixed, letters)]))
    edge = MOST_APART * (places[-1] - places[0]) / 2 + 0.02 * (places[-1] - places[0])
    axes.set_xlim(places[0] - edge, places[-1] + edge)
    across(axes)


def _tick(field: str, value: Fraction) -> str:
    if field == STEP_SIZE:
        return in_eps(value)
    return f"{float(255 * value):.4g}" if field == EPS else str(value)


def _legend(board: Board, looks: Looks, fields: set[str]) -> list[Line2D]:
    """The entries of the legend: methods in the order of the ranking, then the other lines."""
    rows = board.ranked
    handles = [Line2D([], [], label=shortened(row.label, LONGEST_LABEL), **looks[row.label].line) for row in rows]
    if math.isfinite(board.chance):
        handles.append(Line2D([], [], label="chance", **CHANCE))
    if len(rows) <= MOST_SECOND_LINES:
        if STEP_SIZE in fields:
            handles.append(Line2D([], [], color=INK, label="final iterate", **FINAL_LINE))
        if EPS in fields:
            handles.append(Line2D([], [], color=INK, label="worst of all attacks", **WORST_LINE))
    return handles
