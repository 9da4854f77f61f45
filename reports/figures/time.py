"""The time of each row: stacked bars of the seconds by purpose."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from reports.boards.board import Board
from reports.figures.placing import LETTER
from reports.figures.style import FAINT, PAGE, PALETTE, shortened
from results import Run
from results.schema import AFRESH, COSTS, GRADIENTS, PROBES, SECONDS, UNFORGETTING, UNSEEN

LEARNING, ATTACKS, REST = "learning", "attacks", "starting, the rest"
GROUPS = {
    "learn": LEARNING,
    "validate": "validation",
    "attack": ATTACKS,
    "extra": "extra attacks",
    **dict.fromkeys((PROBES, GRADIENTS, UNSEEN, AFRESH, UNFORGETTING), "other checks"),
    "hash": "hashing",
    "read": "reading, writing",
    "write": "reading, writing",
    "capture": "preparing",
    "prepare": "preparing",
}
"""The group of a purpose, by its first word; all others are the rest."""
NAMES = (*dict.fromkeys(GROUPS.values()), REST)
COLOURS = dict(zip(NAMES, PALETTE, strict=True))
LINE, ABOVE, BELOW, RIGHT, NOTE_LINE, LEGEND_LINE = 0.165, 0.05, 0.38, 0.62, 0.13, 0.17
"""Inches of a row, around the panel, of a line of the note and of the legend."""
FONT, LONGEST_NAME, NOTE_LETTERS, COLUMNS = 7.0, 30, 150, 5
"""Points and letters of a name; letters of a line of the note; columns of the legend."""
CAPTION = (
    "Where the time of each row went: the seconds of its purposes as parts of all seconds of its run, mean over seeds, with the "
    "time of the whole run at the right; runs that it needs first are not counted"
)


def time_table(board: Board) -> pd.DataFrame:
    """A line per ranked row of which some time is known.

    label: of the row.
    whole: True if all its time was recorded by purpose; otherwise learning (validation included) and attacks are all there is.
    One column per group of `NAMES`: seconds, mean over seeds.
    """
    records = []
    for row in board.ranked:
        runs = [seed.run for seed in row.used_seeds]
        whole = all((run.facts["phase"] == SECONDS).any() for run in runs)
        found = pd.DataFrame([_by_purpose(run) if whole else _known(run) for run in runs]).fillna(0.0)
        if found.to_numpy().sum() > 0:
            records.append({"label": row.label, "whole": whole, **dict.fromkeys(NAMES, 0.0), **dict(found.mean())})
    return pd.DataFrame(records, columns=["label", "whole", *NAMES])


def _by_purpose(run: Run) -> dict[str, float]:
    mine = run.facts[run.facts["phase"] == SECONDS]
    names = mine["name"].str.split(" ").str[0].map(GROUPS).fillna(REST)
    found = mine["value"].clip(lower=0).groupby(names).sum()
    return {str(name): float(value) for name, value in found.items()}


def _known(run: Run) -> dict[str, float]:
    facts = run.facts
    trained = facts.loc[(facts["phase"] == COSTS) & (facts["name"] == "train_seconds"), "value"]
    return {LEARNING: float(trained.sum()), ATTACKS: float(run.evaluations["seconds"].sum())}


def time_figure(board: Board) -> tuple[str, Figure] | None:
    """Draw a bar per ranked row: caption and figure; None if no time is known."""
    table = time_table(board)
    if table.empty:
        return None
    names = [shortened(label, LONGEST_NAME) for label in table["label"]]
    old = table.loc[~table["whole"], "label"].tolist()
    words = f"Recorded of these: learning, with its validation, and attacks alone: {', '.join(old)}." if old else ""
    note = textwrap.wrap(words, NOTE_LETTERS, break_on_hyphens=False)
    shown = [name for name in NAMES if table[name].sum() > 0]
    legend = LEGEND_LINE * -(-len(shown) // COLUMNS) + 0.06
    left, high = 0.1 + LETTER * FONT * max(map(len, names)) / 72, LINE * (len(names) + 0.4)
    below = BELOW + NOTE_LINE * len(note)
    width, height = PAGE, ABOVE + legend + high + below
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((left / width, below / height, (width - left - RIGHT) / width, high / height))
    _bars(axes, table, names, shown)
    figure.legend(
        handles=[Patch(color=COLOURS[name], label=name) for name in shown],
        loc="upper center", ncols=min(COLUMNS, len(shown)), handlelength=1.2, columnspacing=1.4, borderaxespad=0.2,
    )  # fmt: skip
    if note:
        figure.text(0.04 / width, 0.04 / height, "\n".join(note), fontsize=6, va="bottom", linespacing=1.3)
    return CAPTION, figure


def _bars(axes: Axes, table: pd.DataFrame, names: Sequence[str], shown: Sequence[str]) -> None:
    seconds = table[list(shown)].to_numpy(float)
    whole = seconds.sum(1)
    parts = 100 * seconds / whole[:, None]
    places, begin = np.arange(len(names)), np.zeros(len(names))
    for name, part in zip(shown, parts.T, strict=True):
        axes.barh(places, part, left=begin, height=0.72, color=COLOURS[name], linewidth=0)
        begin = begin + part
    beside = axes.get_yaxis_transform()
    for k, (name, total) in enumerate(zip(names, whole, strict=True)):
        axes.text(-0.01, k, name, transform=beside, fontsize=FONT, ha="right", va="center")
        axes.text(1.01, k, _duration(total), transform=beside, fontsize=FONT, ha="left", va="center")
    axes.set_xlim(0, 100)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel("part of the time of the run (%)")
    axes.tick_params(left=False, labelleft=False)
    axes.xaxis.grid(True, color=FAINT, alpha=0.3, linewidth=0.5)
    axes.set_axisbelow(True)


def _duration(seconds: float) -> str:
    """Seconds, minutes or hours, with two digits or more."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.{0 if seconds >= 10 * size else 1}f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
