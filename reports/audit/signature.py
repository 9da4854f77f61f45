"""The impossible signature: attacked images classified better than clean ones, here and in the thesis' own logs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
import pandas as pd

from reports.audit.audited_row import CANONICAL, AuditedRow
from reports.numbers.statistics.contrasts import contrast
from reports.numbers.statistics.intervals import NO_INTERVAL, Interval, interval_kind


@dataclass(frozen=True)
class Signature:
    """Accuracies on attacked and on clean images under one protocol, in [0, 1].

    switch: `CANONICAL`, or the bundle that is turned.
    attacked, clean: per task, mean over seeds.
    difference, bounds: attacked − clean, mean over tasks, and its 95 % interval.
    interval: the kind of interval, in words.
    """

    method: str
    switch: str
    tasks: tuple[str, ...]
    attacked: tuple[float, ...]
    clean: tuple[float, ...]
    difference: float
    bounds: Interval
    interval: str

    @property
    def above(self) -> int:
        """The number of tasks on which attacked images are classified better than clean ones."""
        return sum(attacked > clean for attacked, clean in zip(self.attacked, self.clean, strict=True))

    @property
    def verdict(self) -> str:
        """`appears` if the difference is above 0 with its interval; `absent` if below, or above on no task; else `undecided`."""
        if self.difference > 0 and not self.bounds.low <= 0:
            return "appears"
        return "absent" if self.above == 0 or (self.difference < 0 and not self.bounds.high >= 0) else "undecided"


def signature_of(row: AuditedRow, tasks: Sequence[str]) -> Signature:
    """The signature of a row; tasks: their names."""
    attacked, clean = (
        tuple(float(np.mean([seed[task].mean() for seed in outcomes.values()])) for task in range(len(tasks)))
        for outcomes in (row.reported, row.clean)
    )
    difference, bounds = contrast([(1.0, row.reported), (-1.0, row.clean)])
    kind = interval_kind(len(row.reported))
    return Signature(row.method, row.switch, tuple(tasks), attacked, clean, difference, bounds, kind)


def signatures(rows: Sequence[AuditedRow], tasks: Sequence[str]) -> list[Signature]:
    """The signatures of the rows with all switches off and of the bundles."""
    return [signature_of(row, tasks) for row in rows if row.bundle or row.switch == CANONICAL]


def logged(logs: pd.DataFrame) -> Signature:
    """The signature of the thesis' own logs. They are of one seed and have no outcomes per sample, so there is no interval."""
    attacked, clean = logs["pgd_train_pgd_eval"], logs["pgd_train_clean_eval"]
    return Signature(
        "thesis (its logs)", "all", tuple(logs["superclass"]), tuple(attacked), tuple(clean),
        float((attacked - clean).mean()), NO_INTERVAL, "none: one number per task",
    )  # fmt: skip


def signature_table(found: Sequence[Signature]) -> pd.DataFrame:
    """A line per task, and one for their mean with its interval."""
    records = []
    for each in found:
        lines = [*zip(each.tasks, each.attacked, each.clean, strict=True)]
        records += [
            {
                "method": each.method, "protocol": each.switch, "task": task, "attacked": attacked, "clean": clean,
                "difference": attacked - clean, "low": nan, "high": nan, "interval": "",
                "attacked_above_clean": int(attacked > clean),
            }
            for task, attacked, clean in lines
        ]  # fmt: skip
        records.append(
            {
                "method": each.method, "protocol": each.switch, "task": "mean", "attacked": float(np.mean(each.attacked)),
                "clean": float(np.mean(each.clean)), "difference": each.difference, "low": each.bounds.low,
                "high": each.bounds.high, "interval": each.interval, "attacked_above_clean": each.above,
            }
        )  # fmt: skip
    return pd.DataFrame(records)


def in_words(found: Sequence[Signature]) -> list[str]:
    """A sentence per protocol that says on how many tasks attacked images are classified better than clean ones."""
    sentences = []
    for each in found:
        tasks = len(each.tasks)
        where = f"{each.method}, {'all switches off' if each.switch == CANONICAL else each.switch}"
        bounds = "" if np.isnan(each.bounds.low) else f" [{100 * each.bounds.low:+.1f}, {100 * each.bounds.high:+.1f}]"
        points = f"{100 * each.difference:+.1f} points{bounds} on average"
        text = f"attacked above clean on {each.above} of {tasks} tasks, {points}"
        verdict = "" if not bounds else f": the signature {_VERDICTS[each.verdict]}"
        sentences.append(f"{where}: {text}{verdict}")
    return sentences


_VERDICTS = {
    "appears": "appears", "absent": "does not appear", "undecided": "cannot be decided on these samples",
}  # fmt: skip
