"""Figures of made-up boards: drawing them, the words in them, and their places."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Text

from reports.boards.board import Board
from reports.figures.style import Looks, looks, paper_style

Drawn = TypeVar("Drawn")


def drawn(draw: Callable[[Board, Looks], Drawn], board: Board) -> Drawn:
    """The answer of a figure's function to a board, with a look for each of its rows."""
    with paper_style():
        return draw(board, looks(row.label for row in board.rows))


def drawn_texts(figure: Figure) -> list[Text]:
    """All texts of a figure that are seen, laid out."""
    with paper_style():
        figure.draw_without_rendering()
    unseen = {label for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) for label in _beyond(axis)}
    return [
        text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip() and text not in unseen
    ]


def _beyond(axis: Axis) -> list[Text]:
    """Labels of ticks that stand outside the limits of an axis, which matplotlib makes and does not draw."""
    low, high = sorted(axis.get_view_interval())
    ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    return [tick.label1 for tick in ticks if not low <= tick.get_loc() <= high]


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in drawn_texts(figure)]


def overlapping(texts: list[Text], slack: float = 0.5) -> list[tuple[str, str]]:
    """Pairs of texts that cover each other by more than `slack` pixels in both directions."""
    found = []
    boxes = [text.get_window_extent().padded(-slack) for text in texts]
    for k, (one, first) in enumerate(zip(texts, boxes, strict=True)):
        for other, second in zip(texts[k + 1 :], boxes[k + 1 :], strict=True):
            if first.overlaps(second):
                found.append((one.get_text(), other.get_text()))
    return found


def outside(figure: Figure) -> list[str]:
    """Texts that reach over the edge of the figure."""
    page = figure.bbox.padded(0.5)
    boxes = [(text.get_text(), text.get_window_extent()) for text in drawn_texts(figure)]
    return [name for name, box in boxes if not (page.contains(box.x0, box.y0) and page.contains(box.x1, box.y1))]
