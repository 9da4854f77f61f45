"""The ranking: ACC of `worst` by row, and bars that join rows which are not significantly different."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.boards.board import Board, Row
from reports.figures.panels import chance_column
from reports.figures.placing import LETTER
from reports.figures.style import FAINT, INK, PAGE, Looks, shortened
from reports.numbers.metrics import WORST
from reports.numbers.statistics.comparisons import Comparison

LINE, ABOVE, BELOW, RIGHT = 0.165, 0.26, 0.38, 0.06
"""Inches of a line, and around the panel."""
FONT, LONGEST_NAME, RANKS = 7.0, 30, 0.3
"""Points and letters of a name; inches for the ranks."""
COLUMN_OF_BARS, MOST_FOR_BARS, HEADING = 0.14, 2.6, 0.9
"""Inches from one bar to the next, of all bars at most, and of the words over them."""
REACH = 0.32
"""The part of a line that a bar covers on either side of a row."""
CAPTION = (
    "Ranks, and accuracy after the last task under the worst of all attacks with its 95 % interval. Right: no two rows that one "
    "bar joins can be told apart (p of 0.05 or more after Holm's correction over all pairs); a bar is dotted where it passes by "
    "a row that is not of its group; rows that no bar joins are significantly different"
)


def tie_groups(labels: Sequence[str], comparisons: Iterable[Comparison]) -> list[list[str]]:
    """Groups of two or more rows of which no two are significantly different, in the order of labels.

    Every group is maximal: no row can be added. Together they hold every pair that is not significantly different, and no
    group can be left out: the letters of Piepho 2004, drawn as bars. Not being different is not transitive, so groups overlap,
    and rows of a group need not be neighbours. Two rows without common samples cannot be told apart.
    """
    apart = {frozenset((c.first, c.second)) for c in comparisons if c.better is not None}
    place = {label: k for k, label in enumerate(labels)}
    alike = {a: {b for b in labels if b != a and frozenset((a, b)) not in apart} for a in labels}
    found = [sorted(clique, key=place.__getitem__) for clique in _maximal(set(), set(labels), set(), alike)]
    groups = sorted((group for group in found if len(group) > 1), key=lambda group: [place[label] for label in group])
    for group in sorted(groups, key=len):
        others = [set(other) for other in groups if other is not group]
        if all(any({a, b} <= other for other in others) for k, a in enumerate(group) for b in group[k + 1 :]):
            groups.remove(group)
    return groups


def _maximal(
    clique: set[str], candidates: set[str], done: set[str], alike: dict[str, set[str]]
) -> Iterator[Collection[str]]:
    """Yield the maximal cliques that hold `clique`: Bron & Kerbosch 1973, with the pivot of Tomita et al. 2006."""
    if not candidates and not done:
        yield clique
        return
    pivot = max(sorted(candidates | done), key=lambda label: len(alike[label] & candidates))
    for label in sorted(candidates - alike[pivot]):
        yield from _maximal(clique | {label}, candidates & alike[label], done & alike[label], alike)
        candidates, done = candidates - {label}, done | {label}


def columns_of(groups: Sequence[Sequence[str]], labels: Sequence[str]) -> list[int]:
    """The column of each group's bar: the first in which a row's room is left to the bar above."""
    place = {label: k for k, label in enumerate(labels)}
    ends: list[int] = []
    found = []
    for group in groups:
        first, last = place[group[0]], place[group[-1]]
        column = next((k for k, end in enumerate(ends) if end + 1 < first), len(ends))
        ends[column : column + 1] = [last]
        found.append(column)
    return found


def ranking_figure(board: Board, looks: Looks) -> tuple[str, Figure] | None:
    """Draw the ranked rows: caption and figure; None without two rows."""
    rows = board.ranked
    if len(rows) < 2:
        return None
    labels = [row.label for row in rows]
    groups = tie_groups(labels, board.comparisons)
    columns = columns_of(groups, labels)
    names = [shortened(label, LONGEST_NAME) for label in labels]
    left = RANKS + 0.08 + LETTER * FONT * max(map(len, names)) / 72
    bars = max(HEADING, min(MOST_FOR_BARS, COLUMN_OF_BARS * (max(columns, default=0) + 2)))
    high = LINE * (len(rows) + 0.4)
    width, height = PAGE, ABOVE + high + BELOW
    wide = width - left - bars - RIGHT
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((left / width, BELOW / height, wide / width, high / height))
    chance_column(axes, board)
    _marks(axes, rows, names, looks, wide)
    right = figure.add_axes(((left + wide) / width, BELOW / height, bars / width, high / height), sharey=axes)
    _bars(right, labels, groups, columns)
    axes.set_ylim(len(rows) - 0.3, -0.7)
    return CAPTION, figure


def _marks(axes: Axes, rows: Sequence[Row], names: Sequence[str], looks: Looks, wide: float) -> None:
    """Draw a mark and its interval per row, with rank and name left of it; wide: inches."""
    beside = axes.get_yaxis_transform()
    for k, (row, name) in enumerate(zip(rows, names, strict=True)):
        look, bounds = looks[row.label], row.measures.bounds(f"ACC_lopezpaz2017 {WORST}")
        axes.plot([100 * bounds.low, 100 * bounds.high], [k, k], color=look.colour, linewidth=1.2, zorder=2)
        axes.plot(100 * row.acc, k, linestyle="", **{**look.point, "markersize": 4.6}, zorder=3)
        axes.text(-0.08 / wide, k, str(row.rank), transform=beside, fontsize=FONT, ha="right", va="center")
        axes.text(-RANKS / wide, k, name, transform=beside, fontsize=FONT, ha="right", va="center")
    axes.text(-0.08 / wide, -1, "rank", transform=beside, fontsize=FONT, ha="right", va="center", color=FAINT)
    axes.set_xlim(0, min(100, axes.dataLim.x1 + 3))
    axes.set_xlabel("accuracy, worst of all attacks (%)")
    axes.xaxis.grid(True, color=FAINT, alpha=0.3, linewidth=0.5)
    _row_lines(axes, len(rows))


def _bars(axes: Axes, labels: Sequence[str], groups: Sequence[Sequence[str]], columns: Sequence[int]) -> None:
    """Draw a bar over the members of each group that stand one after another, dotted where it passes by others."""
    for group, column in zip(groups, columns, strict=True):
        members = [k for k, label in enumerate(labels) if label in group]
        axes.plot([column] * 2, [members[0], members[-1]], color=INK, linewidth=0.8, linestyle=(0, (1, 1.5)))
        for first, last in _neighbours(members):
            axes.plot([column] * 2, [first - REACH, last + REACH], color=INK, linewidth=2.2, solid_capstyle="butt")
    axes.text(-1, -1, "not told apart" if groups else "all told apart", fontsize=FONT, va="center", color=FAINT)
    axes.set_xlim(-1, max([*columns, round(HEADING / COLUMN_OF_BARS) - 2]) + 1)
    axes.set_xticks([])
    axes.spines[["left", "bottom"]].set_visible(False)
    _row_lines(axes, len(labels))


def _neighbours(members: Sequence[int]) -> list[tuple[int, int]]:
    """The first and the last of numbers that follow one another: [0, 1, 4] → (0, 1), (4, 4)."""
    firsts = [k for k in members if k - 1 not in members]
    lasts = [k for k in members if k + 1 not in members]
    return list(zip(firsts, lasts, strict=True))


def _row_lines(axes: Axes, rows: int) -> None:
    """Draw faint lines that lead the eye from a name to its bars."""
    axes.hlines(range(rows), *axes.get_xlim(), color=FAINT, alpha=0.3, linewidth=0.5, zorder=0)
    axes.tick_params(left=False, labelleft=False)
    axes.set_axisbelow(True)
