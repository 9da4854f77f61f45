"""What each protocol shortcut is worth: paired differences of reported accuracies, their total, and what does not add up.

Pure functions of outcomes per sample. Every variant of an audit is measured on the same samples, so one resample of a task's
samples serves all of them and every difference is paired.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from reports.numbers.metrics import Array
from reports.numbers.statistics.bootstrap import resample_counts
from reports.numbers.statistics.intervals import Interval, interval, interval_kind

CANONICAL = "canonical"
SUM, INTERACTION = "sum of the single effects", "interaction"

AuditOutcomes = Mapping[int, Sequence[np.ndarray]]
"""By seed, per task: whether each sample was counted as right, bool (n,); the same samples in every variant."""


@dataclass(frozen=True)
class AuditedRow:
    """A method under one protocol. switch: `canonical`, or what is turned; parts: the switches whose effects a bundle should be
    the sum of, empty where there is no such sum.

    reported: as this protocol counts; clean: unchanged images, as this protocol classifies them; same_network: the canonical
    evaluation of this protocol's network. canonical, thesis, findings, expected: in words.
    """

    method: str
    switch: str
    reported: AuditOutcomes
    clean: AuditOutcomes
    same_network: AuditOutcomes
    bundle: bool = False
    parts: tuple[str, ...] = ()
    canonical: str = ""
    thesis: str = ""
    findings: str = ""
    expected: str = ""


@dataclass(frozen=True)
class Effect:
    """A difference against the canonical row with its paired 95 % interval; accuracies in [0, 1], NaN where there is none.

    of_network: how the canonical evaluation of the network itself changed; what is left of the effect was measured, not learned.
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


Draws = Callable[[int], Array]
"""Seed to bootstrap draws (resamples,)."""


def accuracy(outcomes: Sequence[np.ndarray]) -> float:
    """Mean over tasks of one seed's accuracy."""
    return float(np.mean([task.mean() for task in outcomes]))


def accuracy_draws(outcomes: Sequence[np.ndarray]) -> Array:
    """The same under a bootstrap over samples, stratified by task: (resamples,)."""
    total: Array = np.zeros(1)
    for number, task in enumerate(outcomes):
        counts = resample_counts(len(task), number).astype(np.float32)
        total = total + (counts @ task.astype(np.float32)).astype(float) / len(task)
    return total / len(outcomes)


def mean_accuracy(outcomes: AuditOutcomes) -> float:
    return float(np.mean([accuracy(tasks) for tasks in outcomes.values()]))


def contrast(terms: Sequence[tuple[float, AuditOutcomes]]) -> tuple[float, Interval]:
    """A weighted sum of accuracies and its interval: one or two seeds, bootstrap over samples; three or more, t over seeds."""
    seeds = sorted(set.intersection(*(set(outcomes) for _, outcomes in terms)))
    values = [sum(weight * accuracy(outcomes[seed]) for weight, outcomes in terms) for seed in seeds]

    def draws() -> list[Array]:
        return [sum((w * accuracy_draws(outcomes[seed]) for w, outcomes in terms), np.zeros(1)) for seed in seeds]

    return float(np.mean(values)), interval(values, draws)


def effects_of(rows: Sequence[AuditedRow]) -> list[Effect]:
    """Every row against the canonical one of its method; after each bundle with parts, the sum and the interaction."""
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
        # Its own interval is that of its accuracy.
        bounds = contrast([(1, row.reported)])[1]
    return Effect(
        row.method, row.switch, row.bundle, mean_accuracy(row.reported), mean_accuracy(row.clean),
        mean_accuracy(row.same_network), effect, bounds, of_network, network_bounds,
        len(row.reported), _samples(row),
    )  # fmt: skip


def _remainder(bundle: AuditedRow, parts: Sequence[AuditedRow], canonical: AuditedRow) -> list[Effect]:
    nan, none = float("nan"), Interval(float("nan"), float("nan"))
    singles = [(1.0, part.reported) for part in parts]
    count = float(len(parts))
    total, total_bounds = contrast([*singles, (-count, canonical.reported)])
    opposite = [(-1.0, part.reported) for part in parts]
    left, left_bounds = contrast([(1.0, bundle.reported), *opposite, (count - 1, canonical.reported)])
    seeds, samples = len(bundle.reported), _samples(bundle)
    return [
        Effect(bundle.method, name, True, nan, nan, nan, value, bounds, nan, none, seeds, samples)
        for name, value, bounds in ((SUM, total, total_bounds), (INTERACTION, left, left_bounds))
    ]


def _samples(row: AuditedRow) -> int:
    return sum(len(task) for task in next(iter(row.reported.values())))


def effects_table(rows: Sequence[AuditedRow]) -> pd.DataFrame:
    """One line per row, accuracies and differences in [0, 1] (`reports.audit.effects.Effect`), with the words of its switch."""
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
                "thesis": row.thesis if row else "",
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
