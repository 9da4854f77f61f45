"""95 % intervals: of a proportion, over seeds, and from bootstrap draws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
from scipy import stats

from reports.numbers.metrics import Array
from reports.numbers.statistics.bootstrap import hierarchical

LEVEL = 0.95
_Z = float(stats.norm.ppf((1 + LEVEL) / 2))

ONE_SEED = "test-set noise only"
TWO_SEEDS = "hierarchical bootstrap over 2 seeds"
NO_SEED = "n/a"


@dataclass(frozen=True, slots=True)
class Interval:
    """The bounds of a 95 % interval; both are NaN where there is none."""

    low: float
    high: float


NO_INTERVAL = Interval(nan, nan)


def wilson(successes: int, n: int) -> Interval:
    """Wilson's score interval of a proportion (Wilson 1927), for the accuracy on a single task."""
    if n == 0:
        return NO_INTERVAL
    # Written out: scipy's exact test behind the same interval takes a millisecond, and there are thousands of tasks.
    z, p = _Z, successes / n
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return Interval(max(0.0, float(centre - half)), min(1.0, float(centre + half)))


def t_interval(values: Sequence[float]) -> Interval:
    """mean ± t_{n-1} s/√n over the seeds' values, with s at ddof=1. Needs at least two values and no NaN."""
    sample = np.asarray(values, float)
    if len(sample) < 2 or np.isnan(sample).any():
        return NO_INTERVAL
    half = stats.t.ppf((1 + LEVEL) / 2, len(sample) - 1) * sample.std(ddof=1) / np.sqrt(len(sample))
    return Interval(float(sample.mean() - half), float(sample.mean() + half))


def percentile_interval(draws: Array) -> Interval:
    """The central 95 % of bootstrap draws; none if a draw is NaN, because the metric is not defined there."""
    if draws.size == 0 or np.isnan(draws).any():
        return NO_INTERVAL
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))


def interval_kind(seeds: int) -> str:
    """The kind of interval that `interval` gives for so many seeds, in words."""
    if seeds == 0:
        return NO_SEED
    return {1: ONE_SEED, 2: TWO_SEEDS}.get(seeds, f"t-interval over {seeds} seeds")


def interval(values: Sequence[float], draws: Callable[[], Sequence[Array]]) -> Interval:
    """The interval of a metric: by the bootstrap for one or two seeds, the t-interval for three or more.

    values: the metric per seed.
    draws: gives the metric's bootstrap draws per seed; it is called only where they are needed.
    """
    if len(values) == 0 or np.isnan(values).any():
        return NO_INTERVAL
    return t_interval(values) if len(values) >= 3 else percentile_interval(hierarchical(draws()))
