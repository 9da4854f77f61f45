"""Robust validation accuracy over seconds of training, a line per method."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from reports.boards.board import Board
from reports.figures.panels import CHANCE, highest
from reports.figures.placing import LONGEST_LABEL, legend_columns
from reports.figures.style import FAINT, PAGE, Looks, shortened
from reports.tables.training import training_curve

CAPTION = (
    "Best robust validation accuracy so far over seconds of training per task, mean over tasks; every stage and its validation "
    "count, prerequisites do not"
)


def training_figure(board: Board, looks: Looks) -> tuple[str, Figure] | None:
    """Draw the curves of training: caption and figure; None if no ranked row has a log of its training."""
    curves = {row.label: curve for row in board.ranked if len(curve := training_curve(row))}
    if not curves:
        return None
    columns = legend_columns([*curves, "chance"])
    figure = Figure(figsize=(PAGE, 2.4 + 0.15 * math.ceil((len(curves) + 1) / columns)), layout="constrained")
    axes = figure.add_subplot()
    for label, curve in curves.items():
        # A mark where the curve ends, and with it in the legend.
        axes.plot(
            curve["seconds"], 100 * curve["robust_validation"], drawstyle="steps-post", markevery=[-1],
            label=shortened(label, LONGEST_LABEL), **looks[label].line, zorder=2,
        )  # fmt: skip
    if board.chances_when_learned:
        axes.axhline(100 * float(np.mean(board.chances_when_learned)), label="chance", zorder=1, **CHANCE)
    axes.set_xscale("log", subs=(2, 5))
    for axis in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        axis(FuncFormatter(lambda seconds, _: f"{seconds:g}"))
    axes.tick_params(axis="x", which="both", labelsize=7, length=2.5, pad=3)
    axes.set_ylim(0, highest(axes))
    axes.set_xlabel("seconds of training per task")
    axes.set_ylabel("robust validation accuracy (%)")
    axes.grid(True, color=FAINT, alpha=0.3, linewidth=0.5)
    axes.set_axisbelow(True)
    figure.legend(loc="outside upper center", ncols=columns, handlelength=2.2, columnspacing=1.4)
    return CAPTION, figure
