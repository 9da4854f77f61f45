"""The effect of each protocol shortcut: paired differences of reported accuracies, their sum, and the interaction.

Pure functions of outcomes per sample. All protocols of an audit have the same samples, so they share the resamples of a task
and every difference is paired.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import pandas as pd

from reports.audit.audited_row import CANONICAL, AuditedRow
from reports.numbers.statistics.contrasts import contrast, mean_accuracy
from reports.numbers.statistics.intervals import NO_INTERVAL, Interval, interval_kind

SUM, INTERACTION = "sum of the single effects", "interaction"
"""Lines that follow a bundle with parts."""


@dataclass(frozen=True)
class Effect:
    """A row against the canonical one of its method; accuracies in [0, 1], NaN where there is none.

    reported, clean, same_network: accuracies of the row (`AuditedRow`).
    effect, bounds: the change of `reported`, and its paired 95 % interval; for the canonical row, the interval of its accuracy.
    of_network, of_network_bounds: the change of `same_network`. The rest of the effect comes from evaluation, not learning.
    seeds, samples: their numbers.
    """

    method: str
    switch: str
    bundle: bool
    reported: float
    clean: float
    same_network: float
    effect: float
    bounds: Interval
    of_network: float
    of_network_bounds: Interval
    seeds: int
    samples: int


def effects_of(rows: Sequence[AuditedRow]) -> list[Effect]:
    """Compare every row with the canonical one of its method. The sum and the interaction follow each bundle with parts."""
    found = []
    for method in dict.fromkeys(row.method for row in rows):
        mine = {row.switch: row for row in rows if row.method == method}
        canonical = mine[CANONICAL]
        for row in mine.values():
            found.append(_effect(row, canonical))
            there = [mine[name] for name in row.parts if name in mine]
            if row.parts and len(there) == len(row.parts):
                found += _remainder(row, there, canonical)
    return found


def _effect(row: AuditedRow, canonical: AuditedRow) -> Effect:
    effect, bounds = contrast([(1, row.reported), (-1, canonical.reported)])
    of_network, network_bounds = contrast([(1, row.same_network), (-1, canonical.same_network)])
    if row.switch == CANONICAL:
        # The interval of its accuracy: it has no change.
        bounds = contrast([(1, row.reported)])[1]
    return Effect(
        row.method, row.switch, row.bundle, mean_accuracy(row.reported), mean_accuracy(row.clean),
        mean_accuracy(row.same_network), effect, bounds, of_network, network_bounds,
        len(row.reported), _samples(row),
    )  # fmt: skip


def _remainder(bundle: AuditedRow, parts: Sequence[AuditedRow], canonical: AuditedRow) -> list[Effect]:
    """The sum of the effects of a bundle's parts, and the rest of its effect."""
    singles = [(1.0, part.reported) for part in parts]
    count = float(len(parts))
    total, total_bounds = contrast([*singles, (-count, canonical.reported)])
    opposite = [(-1.0, part.reported) for part in parts]
    left, left_bounds = contrast([(1.0, bundle.reported), *opposite, (count - 1, canonical.reported)])
    seeds, samples = len(bundle.reported), _samples(bundle)
    return [
        Effect(bundle.method, name, True, nan, nan, nan, value, bounds, nan, NO_INTERVAL, seeds, samples)
        for name, value, bounds in ((SUM, total, total_bounds), (INTERACTION, left, left_bounds))
    ]


def _samples(row: AuditedRow) -> int:
    return sum(len(task) for task in next(iter(row.reported.values())))


def effects_table(rows: Sequence[AuditedRow], of: str = "thesis") -> pd.DataFrame:
    """The effects, a line each: accuracies and differences in [0, 1] (`Effect`), and the words of the switch.

    of: the evaluation that is audited; the column of its values has this name.
    """
    words = {(row.method, row.switch): row for row in rows}
    records = []
    for effect in effects_of(rows):
        row = words.get((effect.method, effect.switch))
        records.append(
            {
                "method": effect.method,
                "switch": effect.switch,
                "findings": row.findings if row else "",
                "canonical": row.canonical if row else "",
                of: row.turned if row else "",
                "reported": effect.reported,
                "effect": effect.effect,
                "low": effect.bounds.low,
                "high": effect.bounds.high,
                "clean": effect.clean,
                "same_network": effect.same_network,
                "of_network": effect.of_network,
                "of_network_low": effect.of_network_bounds.low,
                "of_network_high": effect.of_network_bounds.high,
                "seeds": effect.seeds,
                "samples": effect.samples,
                "interval": interval_kind(effect.seeds),
                "expected": row.expected if row else "",
            }
        )
    return pd.DataFrame(records)
