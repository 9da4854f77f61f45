"""Robust validation accuracy over seconds of training, a line per method."""

from __future__ import annotations

import math
from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from reports.boards import Board
from reports.style import FAINT, PAGE
from reports.sweep_figures import CHANCE, highest, legend_columns, look_of
from reports.training import training_curve

Looks = Mapping[str, tuple[str, str]]
CAPTION = (
    "Best robust validation accuracy so far over seconds of training per task, mean over tasks; every stage and its validation "
    "count, prerequisites do not"
)


def training_figure(board: Board, looks: Looks) -> tuple[str, Figure] | None:
    """The caption and the figure; None where no ranked row has a log of its training."""
    curves = {row.label: curve for row in board.ranked if len(curve := training_curve(row))}
    if not curves:
        return None
    columns = legend_columns([*curves, "chance"])
    figure = Figure(figsize=(PAGE, 2.4 + 0.15 * math.ceil((len(curves) + 1) / columns)), layout="constrained")
    axes = figure.add_subplot()
    for k, (label, curve) in enumerate(curves.items()):
        look = look_of(k, label, looks)
        axes.step(
            curve["seconds"], 100 * curve["robust_validation"], where="post", label=label,
            **{**look, "marker": ""}, zorder=2,
        )  # fmt: skip
        axes.plot(
            curve["seconds"].iloc[-1], 100 * curve["robust_validation"].iloc[-1], linestyle="", zorder=3,
            **{key: look[key] for key in ("color", "marker", "markersize") if key in look},
        )  # fmt: skip
    if math.isfinite(board.chance):
        axes.axhline(100 * board.chance, **CHANCE, zorder=1, label="chance")
    axes.set_xscale("log", subs=(2, 5))
    for axis in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        axis(FuncFormatter(lambda seconds, _: f"{seconds:g}"))
    axes.tick_params(axis="x", which="minor", labelsize=7)
    axes.set_ylim(0, highest(axes))
    axes.set_xlabel("seconds of training per task")
    axes.set_ylabel("robust validation accuracy (%)")
    axes.grid(True, color=FAINT, alpha=0.3, linewidth=0.5)
    axes.set_axisbelow(True)
    figure.legend(loc="outside upper center", ncols=columns, handlelength=2.2, columnspacing=1.4)
    return CAPTION, figure
