"""The structure figure: every weight of one layer by its owner, at each moment of each task, from the stored owner maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reports.boards.board import Board, Row
from reports.figures.style import FAINT, INK, MOST_NAMED_TASKS, PAGE, shortened, task_colours
from reports.numbers.capacity import BASE_NUMBER, MOMENTS, Structure, layer_names, owners, structures

METHOD = "cmat"
"""The method whose structure is shown."""
MOST_TASKS = 3
MOST_DOTS = 2200
"""Weights per panel: enough for the first layer of a full-width VGG16 that grew by half."""
WIDEST_DOT, HIGHEST_PANEL = 0.11, 1.6
"""Inches."""
UNUSED = 0.25
"""Opacity of a weight that the task does not use."""
_BORDER: dict[str, Any] = {"color": INK, "linewidth": 0.8, "clip_on": False}
HEADINGS = {
    "train": "fill what is free, pick from earlier tasks",
    "prune": "free what is not needed",
    "retrain": "pick again",
}
NOTHING_EARLIER = {"retrain": "no earlier task to pick from"}


@dataclass(frozen=True)
class Story:
    """The moments of one run that are drawn.

    name: of the layer.
    moments: owner maps by (task, moment).
    rows: the number of the layer's rows that are shown.
    """

    row: Row
    seed: int
    name: str
    moments: dict[tuple[int, str], Structure]
    rows: int

    @property
    def tasks(self) -> list[int]:
        return sorted({task for task, _ in self.moments})

    @property
    def columns(self) -> list[str]:
        return [moment for moment in MOMENTS if any(found == moment for _, found in self.moments)]

    @property
    def largest(self) -> tuple[int, int]:
        """The rows and the rest of the largest shown map."""
        shapes = [structure.owners.shape for structure in self.moments.values()]
        return min(self.rows, max(rows for rows, _ in shapes)), max(rest for _, rest in shapes)

    @property
    def is_wide(self) -> bool:
        """True if filters stand side by side, so that the longer side goes across the page."""
        return self.largest[0] >= self.largest[1]

    def placed(self, rows: Any, rest: Any) -> tuple[Any, Any]:
        """The x and y of weights, or of the ends of a line."""
        return (rows, rest) if self.is_wide else (rest, rows)

    def grown_from(self, key: tuple[int, str]) -> tuple[int, int] | None:
        """The rows and the rest of the layer after the task before, if it is larger now; else None."""
        before = next((s for (task, _), s in reversed(self.moments.items()) if task == key[0] - 1), None)
        if before is None or before.owners.size >= self.moments[key].owners.size:
            return None
        rows, rest = before.owners.shape
        return rows, rest


def structure_figure(board: Board) -> tuple[str, Figure] | None:
    """Draw the first ranked row of CMAT with stored owner maps: caption and figure; None if there is none."""
    story = next(filter(None, (_story(row) for row in board.ranked if row.method == METHOD)), None)
    return None if story is None else (_caption(story), _draw(story, board))


def _story(row: Row) -> Story | None:
    """The moments of the row's first seed with owner maps; None if no seed has any."""
    for seed in row.seeds:
        found = structures(seed.evidence.facts)
        if found:
            layer = next(iter(found.values())).layer
            tasks = sorted({task for task, _ in found})[:MOST_TASKS]
            moments = {key: s for key, s in found.items() if key[0] in tasks and s.layer == layer}
            layers = list(owners(seed.evidence.facts)["layer"].unique())
            names = dict(zip(layers, layer_names(layers, seed.run.identity.get("backbone")), strict=True))
            name = f"layer {names[layer]}" if names.get(layer, "").isdigit() else names.get(layer, layer)
            rest = max(s.owners.shape[1] for s in moments.values())
            return Story(row, seed.run.seed, name, moments, max(1, MOST_DOTS // rest))
    return None


def _caption(story: Story) -> str:
    rows = max(s.owners.shape[0] for s in story.moments.values())
    shown = f", its first {story.rows} of {rows} filters" if rows > story.rows else ""
    seed = f", seed {story.seed}" if len(story.row.seeds) > 1 else ""
    grown = any(story.grown_from(key) for key in story.moments)
    border = ". A thin line is the border of the layer before it grew" if grown else ""
    return (
        f"Owners of every weight of {story.name} under {story.row.label}{seed}{shown}: one dot per weight, a line of panels "
        f"per task{border}"
    )


def _draw(story: Story, board: Board) -> Figure:
    """Draw with all places in inches: a dot has one size in all panels, so growth is seen as growth."""
    left, right, between, head, above, below = 0.2, 0.06, 0.26, 0.34, 0.44, 0.46
    room = (PAGE - left - right - (len(MOMENTS) - 1) * between) / len(MOMENTS)
    across, down = max(story.largest), min(story.largest)
    unit = min(WIDEST_DOT, room / across, HIGHEST_PANEL / down)
    wide, high = unit * across, unit * down
    height = head + len(story.tasks) * (above + high) + below
    figure = Figure(figsize=(PAGE, height))
    colours = task_colours(min(board.tasks, MOST_NAMED_TASKS))

    def write(x: float, y: float, text: str, size: float = 6.5, **look: Any) -> None:
        figure.text(x / PAGE, y / height, text, fontsize=size, va="center", **look)

    for column, moment in enumerate(story.columns):
        x = left + column * (room + between)
        write(x, height - 0.1, moment, 8, fontweight="bold")
        write(x, height - 0.25, HEADINGS[moment])
        for line, task in enumerate(story.tasks):
            y = height - head - (line + 1) * (above + high)
            if column == 0:
                name = board.task_names[task] if task < len(board.task_names) else ""
                write(x, y + high + 0.25, shortened(f"task {task} {name}", 40), 7.5, fontweight="bold")
            if (task, moment) not in story.moments:
                write(x, y + high + 0.1, "" if task else NOTHING_EARLIER.get(moment, ""), color=FAINT)
                continue
            write(x, y + high + 0.1, _moment_words(story, task, moment))
            if column:
                write(x - (room + between - wide) / 2, y + high / 2, "→", 9, color=FAINT, ha="center")
            axes = figure.add_axes((x / PAGE, y / height, wide / PAGE, high / height))
            _dots(axes, story, (task, moment), colours, 72 * unit)
            _name_sides(axes, story, first=column == 0, lowest=line == len(story.tasks) - 1)
    _legend(figure, story, colours, left)
    return figure


def _dots(axes: Axes, story: Story, key: tuple[int, str], colours: list[str], unit: float) -> None:
    """Draw the owner map of one moment; unit: points between dots."""
    drawn = story.moments[key]
    owned, used = drawn.owners[: story.rows], drawn.used[: story.rows]
    for owner in np.unique(owned):
        # A free weight is no task's, used or not, so it is drawn once.
        for in_use in (False, True) if owner else (None,):
            places = (owned == owner) & (True if in_use is None else used == in_use)
            colour = colours[(owner - 1) % len(colours)] if owner else None
            colour = INK if owner == BASE_NUMBER else colour
            if places.any():
                axes.plot(*story.placed(*np.nonzero(places)), **_look(unit, colour, faint=in_use is False))
    old = story.grown_from(key)
    if old is not None:
        rows, rest = (size - 0.5 for size in old)
        if old[0] < min(story.rows, drawn.owners.shape[0]):
            axes.plot(*story.placed([rows, rows], [-0.5, rest]), **_BORDER)
        if old[1] < drawn.owners.shape[1]:
            axes.plot(*story.placed([-0.5, min(rows, story.rows - 0.5)], [rest, rest]), **_BORDER)
    axes.set_xlim(-0.5, max(story.largest) - 0.5)
    axes.set_ylim(min(story.largest) - 0.5, -0.5)


def _name_sides(axes: Axes, story: Story, *, first: bool, lowest: bool) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    across, down = story.placed("filters", "weights")
    if first and lowest:
        axes.set_xlabel(across, fontsize=6.5, labelpad=2, loc="left")
        axes.set_ylabel(down, fontsize=6.5, labelpad=2, loc="bottom")


def _look(unit: float, colour: str | None, *, faint: bool = False) -> dict[str, Any]:
    """The look of a task's dot, faint if it is unused; without a colour, of a small hollow dot that nobody owns."""
    look: dict[str, Any] = {"linestyle": "none", "marker": "o", "clip_on": False}
    if colour is None:
        look |= {"markersize": 0.5 * unit, "markerfacecolor": "none", "markeredgecolor": FAINT}
        return look | {"markeredgewidth": min(0.5, 0.12 * unit)}
    return look | {"markersize": 0.84 * unit, "color": colour, "markeredgewidth": 0, "alpha": UNUSED if faint else 1.0}


def _moment_words(story: Story, task: int, moment: str) -> str:
    """The words over a panel: picked, filled and freed weights of the whole layer."""
    drawn = story.moments[task, moment]
    own, earlier = int(drawn.owned(task).sum()), drawn.earlier(task)
    picked = f"picks {int((drawn.used & earlier).sum()):,} of {int(earlier.sum()):,}" if earlier.any() else ""
    if moment == "prune":
        return f"keeps {own:,}, leaves {int((drawn.owners == 0).sum()):,} free"
    if moment == "retrain":
        return picked
    grown = f"grown to mu {drawn.mu:.3g}" if story.grown_from((task, moment)) else ""
    return ", ".join(filter(None, [grown, f"fills {own:,}" if own else "nothing is free", picked]))


def _legend(figure: Figure, story: Story, colours: list[str], left: float) -> None:
    looks = {f"task {task}": _look(7, colours[task % len(colours)]) for task in story.tasks}
    if any((drawn.owners == BASE_NUMBER).any() for drawn in story.moments.values()):
        looks["pre-trained"] = _look(7, INK)
    looks["free"] = _look(7, None)
    if any((drawn.earlier(task) & ~drawn.used).any() for (task, _), drawn in story.moments.items()):
        looks["an earlier task's, not picked"] = _look(7, INK, faint=True)
    handles = [Line2D([], [], label=label, **look) for label, look in looks.items()]
    figure.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(left / PAGE, 0), borderpad=0, borderaxespad=0.2,
        ncols=len(handles), handlelength=0.8, handletextpad=0.5, columnspacing=1.6,
    )  # fmt: skip
