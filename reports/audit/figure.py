"""The figure of an audit: a bar per switch, the signature of the audited evaluation, and the accuracies that it prints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.audit.audited_row import CANONICAL
from reports.audit.effects import INTERACTION, SUM, Effect
from reports.audit.signature import Signature
from reports.figures.style import FAINT, INK, PAGE, PALETTE


@dataclass(frozen=True)
class Printed:
    """A robust accuracy in print, in [0, 1]. name: whose, and of which network or attack."""

    name: str
    accuracy: float


BLUE, ORANGE, GREEN, RED = PALETTE[0], PALETTE[1], PALETTE[2], PALETTE[5]
GREY = PALETTE[8]


def audit_figure(
    effects: Sequence[Effect], signature: Callable[[Axes], None], printed: Sequence[Printed], eps: str
) -> Figure:
    """Draw three panels: the change of the reported accuracy by switch on the left; the signature of the audited evaluation, and
    below it the reported accuracies beside those in print, on the right.

    signature: draws its panel.
    """
    lines = [effect for effect in effects if effect.switch != CANONICAL]
    height = max(4.4, 0.2 * len(lines) + 0.3 * len({effect.method for effect in lines}) + 0.9)
    figure = Figure(figsize=(PAGE, height), layout="constrained")
    panels: Any = figure.subfigures(1, 2, width_ratios=(1.6, 1))
    left, right = panels
    _bars(left.add_subplot(), effects, eps)
    upper, levels = right.subplots(2, 1, height_ratios=(1.9, 1))
    signature(upper)
    _levels(levels, effects, printed)
    return figure


def _bars(axes: Axes, effects: Sequence[Effect], eps: str) -> None:
    place, ticks, names = 0.0, [], []
    low, high = _ends(effects)
    reach = (high - low) / 2
    for method in dict.fromkeys(effect.method for effect in effects):
        mine = [effect for effect in effects if effect.method == method]
        canonical = next(effect for effect in mine if effect.switch == CANONICAL)
        axes.text(
            low, place - 0.1, f" {method}: {100 * canonical.reported:.1f} % canonically", fontweight="bold", ha="left",
            va="center", bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0},
        )  # fmt: skip
        place += 1.0
        for effect in mine:
            if effect.switch == CANONICAL:
                continue
            _bar(axes, place, effect, reach)
            ticks.append(place)
            names.append(effect.switch.replace("_", " "))
            place += 1.0
        place += 0.5
    axes.axvline(0, color=INK, linewidth=0.6, zorder=1)
    axes.set_yticks(ticks, names)
    axes.set_ylim(place - 0.6, -0.8)
    axes.set_xlim(low, high)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(f"change of the reported robust accuracy (points), eps {eps}")
    axes.grid(True, axis="x", color=FAINT, alpha=0.3, linewidth=0.5)
    axes.set_axisbelow(True)
    if any(effect.of_network for effect in effects if not np.isnan(effect.of_network)):
        axes.plot([], [], "D", color=INK, markersize=3, label="the same network, evaluated canonically")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.06), handlelength=1.0)


def _bar(axes: Axes, place: float, effect: Effect, reach: float) -> None:
    value = 100 * effect.effect
    low, high = 100 * effect.bounds.low, 100 * effect.bounds.high
    colour = GREY if effect.switch in (SUM, INTERACTION) else RED if effect.bundle else BLUE
    axes.barh(place, value, height=0.68, color=colour, alpha=0.85, zorder=2)
    axes.plot([low, high], [place, place], color=INK, linewidth=0.9, zorder=3)
    if not np.isnan(effect.of_network) and effect.of_network != 0:
        axes.plot(100 * effect.of_network, place, "D", color=INK, markersize=3, zorder=4)
    end = (
        max(value, high, 100 * np.nan_to_num(effect.of_network))
        if value >= 0
        else min(value, low, 100 * np.nan_to_num(effect.of_network))
    )
    side = 1 if value >= 0 else -1
    axes.text(
        end + side * 0.02 * reach, place, f"{value:+.1f}", va="center", ha="left" if side > 0 else "right", fontsize=6.5
    )  # fmt: skip


def _ends(effects: Sequence[Effect]) -> tuple[float, float]:
    """The ends of the axis, with room for every interval and the number beside it."""
    values = [
        100 * value
        for effect in effects
        if effect.switch != CANONICAL
        for value in (effect.bounds.low, effect.bounds.high, effect.effect, effect.of_network)
        if not np.isnan(value)
    ]
    low, high = min([*values, -1.0]), max([*values, 1.0])
    room = 0.13 * (high - low)
    return low - room, high + room


def signature_panel(axes: Axes, found: Sequence[Signature], thesis: Signature) -> None:
    """Draw accuracy on attacked against accuracy on clean images, a point per task; above the diagonal is the signature."""
    axes.plot([0, 102], [0, 102], color=INK, linewidth=0.6, zorder=1)
    axes.fill_between([0, 102], [0, 102], 102, color=ORANGE, alpha=0.12, linewidth=0, zorder=0)
    axes.text(4, 96, "impossible: attacked\nabove clean", va="top", fontsize=6.5, color=INK)
    looks = {CANONICAL: (GREEN, "o"), "all": (RED, "s"), "all_high_resolution": (BLUE, "^")}
    drawn = [
        each for each in found if each.method == "madry_at" or not any(other.method == "madry_at" for other in found)
    ]
    for each in drawn:
        colour, marker = looks.get(each.switch, (PALETTE[3], "v"))
        name = "all switches off" if each.switch == CANONICAL else each.switch.replace("_", " ")
        _points(axes, each, name, colour, marker, 5.0)
    _points(axes, thesis, "the thesis' logs", GREY, "x", 3.5)
    axes.set_xlim(0, 102)
    axes.set_ylim(0, 102)
    axes.set_xlabel("accuracy on clean images (%)")
    axes.set_ylabel("under attack, as reported (%)")
    axes.legend(loc="lower center", bbox_to_anchor=(0.45, 1.0), ncols=1, handlelength=1.0)


def _levels(axes: Axes, effects: Sequence[Effect], printed: Sequence[Printed]) -> None:
    """Draw the reported accuracies of here and in print: for the eye alone, because data, networks and epochs differ."""
    lines = [
        (f"{effect.method}, {effect.switch.replace('_', ' ')}", effect.reported, RED, "s")
        if effect.bundle
        else (f"{effect.method}, all off", effect.reported, GREEN, "o")
        for effect in effects
        if effect.switch == CANONICAL or (effect.bundle and effect.switch not in (SUM, INTERACTION))
    ]
    lines += [(each.name, each.accuracy, INK, "x") for each in printed]
    for place, (name, value, colour, marker) in enumerate(lines):
        axes.plot(100 * value, place, marker, color=colour, markersize=4, zorder=3)
        # The words stand on the side that has room.
        side, ha = (3, "left") if value < 0.5 else (-3, "right")
        axes.text(100 * value + side, place, f"{name}: {100 * value:.1f}", va="center", ha=ha, fontsize=6.5)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.set_xlim(0, 102)
    axes.set_xlabel("reported robust accuracy (%)")
    axes.grid(True, axis="x", color=FAINT, alpha=0.3, linewidth=0.5)
    axes.set_axisbelow(True)


def _points(axes: Axes, each: Signature, name: str, colour: str, marker: str, size: float) -> None:
    clean, attacked = 100 * np.asarray(each.clean), 100 * np.asarray(each.attacked)
    label = f"{name}: above on {each.above} of {len(each.tasks)} tasks"
    axes.plot(
        clean,
        attacked,
        linestyle="",
        marker=marker,
        markersize=size,
        color=colour,
        label=label,
        zorder=3,
        clip_on=False,
    )
