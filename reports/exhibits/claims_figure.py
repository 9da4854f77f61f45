"""The thesis' claims as a picture: our differences with their intervals, the published ones as hollow marks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reports.exhibits.claims import CONFIRMED, REFUTED, Answer, answers, claims_caption
from reports.exhibits.exhibits import Exhibits
from reports.figures.placing import LETTER
from reports.figures.style import FAINT, INK, PAGE, PALETTE

CLAIMS_FIGURE = "exhibit_claims"
"""The name of the picture among the figures of a board."""
LINE, ABOVE, BELOW = 0.165, 0.3, 0.38
"""Inches of a line, and around the panel."""
FONT = 6.5
LEFT, RIGHT = 0.08, 1.3
"""Inches beside the words, and of the answers at the right."""
DECIDED = {CONFIRMED: PALETTE[0], REFUTED: PALETTE[5]}
"""The colours of what was decided; everything else stands back."""
PUBLISHED: dict[str, Any] = {
    "marker": "D", "markersize": 3.6, "markerfacecolor": "none", "markeredgecolor": INK, "markeredgewidth": 0.7, "linestyle": "",
}  # fmt: skip


def claims_figure(exhibits: Exhibits) -> tuple[str, Figure] | None:
    """Draw a line per claim and attack: caption and figure; None if nothing of them was measured."""
    found = [answer for answer in answers(exhibits) if answer.is_measured]
    if not found:
        return None
    claims, attacks = (_inches(words) for words in ([a.claim for a in found], [a.under for a in found]))
    left = LEFT * 3 + claims + attacks
    high = LINE * (len(found) + 0.4)
    height = ABOVE + high + BELOW
    wide = PAGE - left - RIGHT
    figure = Figure(figsize=(PAGE, height))
    axes = figure.add_axes((left / PAGE, BELOW / height, wide / PAGE, high / height))
    _marks(axes, found)
    _words(axes, found, claims, wide)
    figure.legend(
        handles=_legend(found), loc="upper right", ncols=4, handlelength=1.2, columnspacing=1.2, borderpad=0.1
    )
    return f"The thesis' claims, one by one. {claims_caption(exhibits)}".rstrip("."), figure


def _inches(words: Sequence[str]) -> float:
    """The width of the longest of these words: they are small letters, which are narrower than others."""
    return 0.9 * LETTER * FONT * max(map(len, words)) / 72


def _marks(axes: Axes, found: Sequence[Answer]) -> None:
    for k, answer in enumerate(found):
        assert answer.found is not None
        colour = DECIDED.get(answer.verdict, FAINT)
        axes.plot([100 * answer.found.low, 100 * answer.found.high], [k, k], color=colour, linewidth=1.4, zorder=2)
        axes.plot(100 * answer.found.difference, k, marker="o", markersize=4.2, color=colour, linestyle="", zorder=3)
        if answer.published == answer.published:
            axes.plot(100 * answer.published, k, zorder=4, **PUBLISHED)
    axes.axvline(0, color=INK, linewidth=0.7, zorder=1)
    axes.hlines(range(len(found)), *axes.get_xlim(), color=FAINT, alpha=0.3, linewidth=0.5, zorder=0)
    axes.margins(x=0)
    axes.set_ylim(len(found) - 0.3, -0.7)
    axes.set_xlabel("points; above 0 speaks for the claim")
    axes.xaxis.grid(True, color=FAINT, alpha=0.3, linewidth=0.5)
    axes.tick_params(left=False, labelleft=False)
    axes.spines["left"].set_visible(False)
    axes.set_axisbelow(True)


def _words(axes: Axes, found: Sequence[Answer], claims: float, wide: float) -> None:
    """Write a claim left of its first line, the attack left of every line, and the answer right of it; wide: inches."""
    beside = axes.get_yaxis_transform()
    begin = -(_inches([answer.under for answer in found]) + LEFT) / wide
    for k, answer in enumerate(found):
        if k == 0 or found[k - 1].claim != answer.claim:
            axes.text(begin - (claims + LEFT) / wide, k, answer.claim, transform=beside, fontsize=FONT, va="center")
        axes.text(begin, k, answer.under, transform=beside, fontsize=FONT, va="center", color=FAINT)
        colour = DECIDED.get(answer.verdict, FAINT)
        axes.text(1 + LEFT / wide, k, answer.verdict, transform=beside, fontsize=FONT, va="center", color=colour)


def _legend(found: Sequence[Answer]) -> list[Line2D]:
    handles = [
        Line2D([], [], color=DECIDED.get(verdict, FAINT), marker="o", markersize=4.2, linewidth=1.4, label=verdict)
        for verdict in sorted({answer.verdict for answer in found})
    ]
    if any(answer.published == answer.published for answer in found):
        handles.append(Line2D([], [], label="published", **PUBLISHED))
    return handles
