"""Figures of a board, drawn from its measures: accuracy by attack and method, and accuracy matrices."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from reports.boards.board import Board, Row
from reports.boards.sweeps import ranking_of
from reports.figures.panels import across, chance_line, highest
from reports.figures.placing import LONGEST_LABEL, legend_columns
from reports.figures.style import COLUMN, FAINT, INK, PAGE, SEQUENTIAL, Looks, shortened
from reports.numbers.attack_facts import COMPOSITIONS, TRANSFER
from reports.numbers.metrics import CLEAN, WORST, Array
from reports.tables.words import short_name

MOST_BARS = 8
"""Attacks of the bar chart, at most."""
_PLACES = {"noise": 0, "fgsm": 1, "pgd": 2, "apgd": 3, "square": 5, TRANSFER: 6, **dict.fromkeys(COMPOSITIONS, 7)}
"""Places of the kinds of attack from left to right. Other kinds stand at 4."""
MOST_ANNOTATED_TASKS, MOST_IN_TWO_COLUMNS = 6, 6
"""Tasks up to which the cells of a heat map hold numbers, and rows up to which two columns are enough."""
BOLD_LETTER = 0.078
"""Inches of a letter over a pair of heat maps."""
LABEL_WIDTH, LONGEST_LINE = 13, 21
"""Letters on a line of a tick label after which it is broken, and after which a single word is cut."""


def shown_attacks(board: Board) -> list[str]:
    """The attacks of the bar chart, at the ranking's norm and eps, at most `MOST_BARS`, from weak to strong.

    These are `clean`, noise, FGSM, the attacks of the matrix, the longest PGD at the matrix' step size, the strongest transfer,
    AutoAttack and its relatives, and `worst`; if there is room, other kinds, first APGD and Square, which AutoAttack has
    inside. The rest of a sweep is in the figure of sweeps.
    """
    stored = set().union(*(row.measures.matrices for row in board.ranked))
    here = [a for a in board.attacks.values() if a.threat == ranking_of(board) and a.name in stored]
    matrix = [a for a in here if a.name in board.matrix]
    steps = {a.apart_from("steps") for a in matrix}
    longer = sorted((a for a in here if a.apart_from("steps") in steps), key=lambda a: (-a.steps, a.name))
    transfers = _by_strength([a.name for a in here if a.kind == TRANSFER], board)
    composed = [a.name for a in here if a.kind in COMPOSITIONS]
    alone = {a.kind: a.name for a in sorted(here, key=lambda a: (-a.steps, a.restarts, a.name), reverse=True)}
    inside = [] if composed else [alone[kind] for kind in ("apgd", "square") if kind in alone]
    # The first ones are the last to be left out.
    wanted = [CLEAN, WORST, *(a.name for a in matrix), *composed, *(a.name for a in longer[:1]), *transfers[:1]]
    wanted += [*inside, *(alone[kind] for kind in ("fgsm", "noise") if kind in alone)]
    shown_kinds = {a.kind for a in here if a.name in wanted} | {TRANSFER}
    wanted += [name for kind, name in sorted(alone.items()) if kind not in shown_kinds]
    kept = set([name for name in dict.fromkeys(wanted) if name in stored][:MOST_BARS])
    ordered = sorted((a for a in here if a.name in kept), key=lambda a: (_PLACES.get(a.kind, 4), a.steps, a.name))
    return [name for name in (CLEAN, *(a.name for a in ordered), WORST) if name in kept]


def _by_strength(attacks: Sequence[str], board: Board) -> list[str]:
    """Sort attacks by mean accuracy, ascending, over the rows that have all of them: a row has no transfer from itself."""
    table = [[row.measures.value(f"ACC_lopezpaz2017 {attack}") for attack in attacks] for row in board.ranked]
    whole = [values for values in table if all(map(math.isfinite, values))]
    means = np.mean(whole, 0) if whole else [0.0] * len(attacks)
    return [name for _, name in sorted(zip(means, attacks, strict=True))]


def accuracy_bars(board: Board, looks: Looks) -> Figure:
    """Draw grouped bars: ACC after the last task by attack and method, 95 % intervals, a line at chance."""
    rows, attacks = board.ranked, shown_attacks(board)
    labels = [shortened(row.label, LONGEST_LABEL) for row in rows]
    columns = legend_columns([*labels, "chance"])
    figure = Figure(figsize=(PAGE, 2.4 + 0.15 * math.ceil((len(rows) + 1) / columns)), layout="constrained")
    axes = figure.add_subplot()
    width = 0.84 / max(1, len(rows))
    for k, row in enumerate(rows):
        names = [f"ACC_lopezpaz2017 {attack}" for attack in attacks]
        heights = 100 * np.array([row.measures.value(name) for name in names])
        bounds = [row.measures.bounds(name) for name in names]
        errors = np.array([[h - 100 * b.low, 100 * b.high - h] for h, b in zip(heights, bounds, strict=True)]).T
        look = looks[row.label]
        places = np.arange(len(attacks)) + (k - (len(rows) - 1) / 2) * width
        axes.bar(
            places, heights, 0.92 * width, color=look.colour, hatch=look.hatch, edgecolor="white", linewidth=0, label=labels[k]
        )  # fmt: skip
        shown = np.isfinite(errors).all(0)
        axes.errorbar(
            places[shown], heights[shown], np.clip(errors[:, shown], 0, None),
            fmt="none", ecolor=INK, elinewidth=0.7, capsize=min(2.0, 14 * width),
        )  # fmt: skip
    chance_line(axes, board, label="chance", zorder=3)
    axes.set_xticks(range(len(attacks)), [_broken(short_name(attack, board)) for attack in attacks])
    axes.set_xlim(-0.55, len(attacks) - 0.45)
    axes.set_ylim(0, highest(axes))
    axes.set_ylabel("accuracy after the last task (%)")
    axes.tick_params(axis="x", length=0)
    across(axes)
    # Bars first, in the order of the ranking; the line at chance last.
    handles = sorted(axes.get_legend_handles_labels()[0], key=lambda handle: not hasattr(handle, "patches"))
    figure.legend(
        handles=handles, loc="outside upper center", ncols=columns, handlelength=1.4, columnspacing=1.4, labelspacing=0.35
    )  # fmt: skip
    return figure


def _broken(name: str) -> str:
    """Break a tick label into lines: `pgd-10 a=51/255` → `pgd-10\\na=51/255`, `transfer from\\nsingle_task_at\\npgd-40`."""
    words = name.replace(f"{TRANSFER} from=", f"{TRANSFER} from ", 1)
    lines = textwrap.wrap(words, LABEL_WIDTH, break_long_words=False, break_on_hyphens=False)
    return "\n".join(shortened(line, LONGEST_LINE) for line in lines)


def matrices_caption(board: Board) -> str:
    """The caption of the heat maps. It explains grey cells if there are any."""
    stored = [row.measures.matrices.get(attack) for row in board.ranked for attack in board.shown_matrices]
    grey = any(R is None or _missing(R).any() for R in stored)
    return "Accuracy on each task after each task, mean over seeds" + ("; grey: not measured" if grey else "")


def accuracy_matrices(board: Board) -> Figure:
    """Draw R as heat maps, a pair (clean, robust) per method. Rows: after the task; columns: on the task.

    All places are in inches, so that maps have one size whatever their labels are.
    """
    rows, attacks = board.ranked, board.shown_matrices
    pairs = 1 if len(rows) == 1 else 2 if len(rows) <= MOST_IN_TWO_COLUMNS else 3
    lines = math.ceil(len(rows) / pairs)
    width = COLUMN if pairs == 1 else PAGE
    left, between_pairs, between, bar, above, below = 0.42, 0.42, 0.1, 0.62, 0.42, 0.42
    room = width - left - bar - (pairs - 1) * between_pairs - pairs * (len(attacks) - 1) * between
    side = room / (pairs * len(attacks))
    letters = int((len(attacks) * (side + between) + between_pairs / 2) / BOLD_LETTER)
    height = lines * (side + above) + below
    figure = Figure(figsize=(width, height))
    image: AxesImage | None = None
    for k, row in enumerate(rows):
        line, pair = divmod(k, pairs)
        x = left + pair * (len(attacks) * (side + between) - between + between_pairs)
        y = height - (line + 1) * (side + above)
        figure.text(x / width, (y + side + 0.22) / height, shortened(row.label, letters), fontsize=8, fontweight="bold")
        for c, attack in enumerate(attacks):
            place = ((x + c * (side + between)) / width, y / height, side / width, side / height)
            axes = figure.add_axes(place)
            image = _heat_map(axes, row, attack, board, first=c == 0, lowest=k + pairs >= len(rows))
    if image is not None:
        length = min(1.6, height - above - below)
        axes = figure.add_axes(
            ((width - bar + 0.12) / width, (height - above - length) / height, 0.09 / width, length / height)
        )
        scale = figure.colorbar(image, cax=axes)
        scale.set_label("accuracy (%)", labelpad=2)
        scale.outline.set_visible(False)
    return figure


def _heat_map(axes: Axes, row: Row, attack: str, board: Board, first: bool, lowest: bool) -> AxesImage:
    R: Array = row.measures.matrices.get(attack, np.full((board.tasks, board.tasks), np.nan))
    shown = np.where(_missing(R), -1, 100 * R)
    colours = mpl.colormaps[SEQUENTIAL].with_extremes(under=to_rgba(FAINT, 0.2))
    image = axes.imshow(shown, cmap=colours, vmin=0, vmax=100, aspect="equal", interpolation="nearest")
    axes.set_title(short_name(attack, board), fontsize=7, pad=3, loc="left", color=INK)
    ticks = range(0, board.tasks, max(1, math.ceil(board.tasks / 6)))
    axes.set_xticks(ticks, None if lowest else [""] * len(ticks))
    axes.set_yticks(ticks, None if first else [""] * len(ticks))
    axes.tick_params(length=1.5, pad=1.5)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if lowest:
        axes.set_xlabel("on task", labelpad=2)
    if first:
        axes.set_ylabel("after task", labelpad=2)
    if board.tasks <= MOST_ANNOTATED_TASKS:
        for (i, j), value in np.ndenumerate(R):
            if math.isfinite(value):
                red, green, blue, _ = image.to_rgba(np.array([100 * value]))[0]
                light = 0.299 * red + 0.587 * green + 0.114 * blue > 0.5
                axes.text(j, i, f"{100 * value:.0f}", ha="center", va="center", fontsize=6,
                          color="#000000" if light else "#ffffff")  # fmt: skip
    return image


def _missing(R: Array) -> Array:
    """Bool (T, T), True where a task was learned already and has no accuracy."""
    return np.isnan(R) & np.tri(len(R), dtype=bool)
