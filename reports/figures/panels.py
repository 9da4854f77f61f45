"""Parts that the panels of several figures share: a grid, the line at chance, the top of an axis in percent."""

from __future__ import annotations

import math
from typing import Any

from matplotlib.axes import Axes

from reports.boards.board import Board
from reports.figures.style import FAINT, INK

CHANCE: dict[str, Any] = {"color": INK, "linestyle": (0, (4, 3)), "linewidth": 0.8}


def chance_line(axes: Axes, board: Board, **look: Any) -> None:
    """Draw a dashed line at the accuracy of guessing, if that is known."""
    if math.isfinite(board.chance):
        axes.axhline(100 * board.chance, **{**CHANCE, "zorder": 1, **look})


def chance_column(axes: Axes, board: Board) -> None:
    """Draw that line, with its name above, in a panel whose accuracies go across."""
    if math.isfinite(board.chance):
        axes.axvline(100 * board.chance, **CHANCE, zorder=1)
        place = axes.get_xaxis_transform()
        axes.text(100 * board.chance, 1, "chance", transform=place, fontsize=6, color=FAINT, ha="center", va="bottom")


def across(axes: Axes) -> None:
    """Draw faint lines across a panel, behind everything else."""
    axes.yaxis.grid(True, color=FAINT, alpha=0.3, linewidth=0.5)
    axes.set_axisbelow(True)


def highest(*panels: Axes) -> float:
    """The next multiple of ten percent above all that is drawn."""
    top = max(axes.dataLim.y1 for axes in panels)
    return min(100.0, 10 * math.ceil((top + 2) / 10))
