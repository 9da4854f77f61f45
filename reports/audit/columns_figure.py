"""The panel of SHIELD's columns: accuracy under three attacks, each with one eps or with its own, here and in print."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from reports.audit.columns import AUTOATTACK, FGSM, ONE_BALL, OWN_EPS, PGD, RELEASED, ColumnOutcomes
from reports.figures.style import FAINT, INK, PALETTE

_TICKS = {AUTOATTACK: "AutoAttack\n(here: suite)", PGD: "PGD-100", FGSM: "FGSM"}
_LOOKS = {ONE_BALL: (PALETTE[2], "o"), OWN_EPS: (PALETTE[1], "^"), RELEASED: (PALETTE[5], "s")}
_PRINTED = {"SHIELD-IM": "x", "DGP": "+"}
"""Rows of the published table that are drawn."""


def columns_panel(axes: Axes, found: Sequence[ColumnOutcomes], published: pd.DataFrame) -> None:
    """Draw a line per way to give the columns their eps, of the first row, and two rows of the published table.

    published: the table of `shield_til.csv`.
    """
    columns = list(_TICKS)
    method = found[0].method if found else ""
    for each in found:
        if each.method == method:
            colour, marker = _LOOKS[each.radii]
            values = [100 * float(np.mean(each.by_task(column))) for column in columns]
            axes.plot(
                columns, values, color=colour, marker=marker, markersize=4, label=f"{method}, {each.radii}", zorder=3
            )
    of_cifar = {row["label"]: row for row in published.to_dict("records") if row["benchmark"] == "split_cifar100"}
    for label, marker in _PRINTED.items():
        values = [float(of_cifar[label][column]) for column in columns]
        style: dict[str, Any] = {"linestyle": (0, (3, 1.5)), "linewidth": 0.8, "marker": marker, "markersize": 4.5}
        axes.plot(columns, values, color=PALETTE[8], label=f"{label}, published", zorder=2, **style)
    axes.set_xticks(range(len(columns)), [_TICKS[column] for column in columns])
    axes.set_xlim(-0.25, len(columns) - 0.75)
    axes.set_ylim(0, 102)
    axes.set_ylabel("under attack (%)")
    axes.text(
        0.02,
        0.02,
        "a line that falls: the weaker\nsearch breaks more",
        transform=axes.transAxes,
        fontsize=6.5,
        color=INK,
    )
    axes.grid(True, axis="y", color=FAINT, alpha=0.3, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.legend(loc="lower center", bbox_to_anchor=(0.45, 1.0), ncols=1, handlelength=1.6)
