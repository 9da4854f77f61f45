"""Weighted sums of accuracies of rows that have the same seeds and samples, such as paired differences, and their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from reports.numbers.metrics import Array
from reports.numbers.statistics.bootstrap import resample_counts
from reports.numbers.statistics.intervals import Interval, interval

SeedOutcomes = Mapping[int, Sequence[np.ndarray]]
"""By seed, per task: bool (n,), True for samples that count as right."""


def seed_accuracy(outcomes: Sequence[np.ndarray]) -> float:
    """The mean over tasks of one seed's accuracy."""
    return float(np.mean([task.mean() for task in outcomes]))


def seed_accuracy_draws(outcomes: Sequence[np.ndarray]) -> Array:
    """`seed_accuracy` under a bootstrap over samples, stratified by task: (resamples,)."""
    total: Array = np.zeros(1)
    for number, task in enumerate(outcomes):
        counts = resample_counts(len(task), number).astype(np.float32)
        total = total + (counts @ task.astype(np.float32)).astype(float) / len(task)
    return total / len(outcomes)


def mean_accuracy(outcomes: SeedOutcomes) -> float:
    """The mean over tasks and seeds."""
    return float(np.mean([seed_accuracy(tasks) for tasks in outcomes.values()]))


def contrast(terms: Sequence[tuple[float, SeedOutcomes]]) -> tuple[float, Interval]:
    """A weighted sum of accuracies over the seeds that all terms have, and its interval (`statistics.intervals.interval`).

    terms: (weight, outcomes).
    """
    seeds = sorted(set.intersection(*(set(outcomes) for _, outcomes in terms)))
    values = [sum(weight * seed_accuracy(outcomes[seed]) for weight, outcomes in terms) for seed in seeds]

    def draws() -> list[Array]:
        return [sum((w * seed_accuracy_draws(outcomes[seed]) for w, outcomes in terms), np.zeros(1)) for seed in seeds]

    return float(np.mean(values)), interval(values, draws)
