"""The figure of `tune`: a panel per row, with its accuracy under the validation attack at every point of the grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.figures.panels import across
from reports.figures.style import INK, PAGE, PALETTE, shortened
from reports.tuning.tuned import AS_PRESET, Trial, keys_of

PANELS_ACROSS = 5
LONGEST_POINT, LONGEST_LABEL = 22, 20
OWN, OTHER = PALETTE[1], PALETTE[0]


def tuning_figure(trials: Sequence[Trial]) -> Figure:
    """Draw a point with its interval for every trial, in the order of the grid; a ring stands around the best one of each row."""
    labels = list(dict.fromkeys(trial.label for trial in trials))
    lines = -(-len(labels) // PANELS_ACROSS)
    columns = -(-len(labels) // lines)
    figure = Figure(figsize=(PAGE, 0.5 + 1.75 * lines), layout="constrained")
    panels: Any = figure.subplots(lines, columns, squeeze=False, sharey=True)
    keys = keys_of(trials)
    for number, axes in enumerate(panels.flat):
        if number >= len(labels):
            axes.set_axis_off()
            continue
        _panel(axes, [trial for trial in trials if trial.label == labels[number]], keys)
        axes.set_title(shortened(labels[number], LONGEST_LABEL), loc="left")
    for line in panels:
        line[0].set_ylabel("validation images right\nunder attack (%)")
    figure.supxlabel(", ".join(keys), fontsize=7.5)
    handles = [
        panels[0][0].plot([], [], "o", color=OWN, markersize=4, label="as the preset")[0],
        panels[0][0].plot([], [], "o", color=OTHER, markersize=4, label="other points")[0],
        panels[0][0].plot([], [], "o", color="none", markeredgecolor=INK, markersize=8, label="best")[0],
    ]
    figure.legend(handles=handles, loc="outside upper right", ncols=3, handletextpad=0.2)
    return figure


def _panel(axes: Axes, trials: Sequence[Trial], keys: Sequence[str]) -> None:
    across(axes)
    for place, trial in enumerate(trials):
        value, colour = 100 * trial.robust, OWN if trial.own else OTHER
        axes.plot([place] * 2, [100 * trial.bounds.low, 100 * trial.bounds.high], color=colour, linewidth=1.0)
        axes.plot(place, value, "o", color=colour, markersize=4)
        if trial.best and len(trials) > 1:
            axes.plot(place, value, "o", color="none", markeredgecolor=INK, markersize=8)
    axes.set_xticks(range(len(trials)), [_point_in_words(trial, keys) for trial in trials])
    axes.set_xlim(-0.6, len(trials) - 0.4)
    axes.margins(y=0.12)


def _point_in_words(trial: Trial, keys: Sequence[str]) -> str:
    """The values of a point, a line each; `AS_PRESET` where it is none of the grid."""
    values = dict(trial.values)
    return "\n".join(shortened(values[key], LONGEST_POINT) for key in keys if key in values) or AS_PRESET
