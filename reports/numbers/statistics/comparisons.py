"""Comparisons of rows on the samples that both cover: tests, Holm's correction, and ranks.

Rows share a rank when as many others are significantly better than each of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import nan

import numpy as np
from scipy import stats

from reports.numbers.metrics import Array
from reports.numbers.statistics.bootstrap import RESAMPLES, hierarchical, resample_counts
from reports.numbers.statistics.intervals import LEVEL, Interval, percentile_interval, t_interval

PAIR_RESAMPLES = 10_000
"""Resamples of a test. They are many because a p-value must be able to be small after Holm's correction over many pairs."""


def mcnemar(first: np.ndarray, second: np.ndarray) -> float:
    """The exact two-sided p-value of McNemar's test (1947) on paired outcomes, bool (n,) each: binomial in discordant pairs."""
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    if only_first + only_second == 0:
        return 1.0
    return float(stats.binomtest(only_first, only_first + only_second).pvalue)


def significantly_better(better: np.ndarray, worse: np.ndarray) -> float:
    """The exact one-sided p-value that `better` is right more often than `worse` on the same samples, bool (n,) each."""
    only_better, only_worse = int((better & ~worse).sum()), int((~better & worse).sum())
    if only_better + only_worse == 0:
        return 1.0
    return float(stats.binomtest(only_better, only_better + only_worse, alternative="greater").pvalue)


Counts = tuple[int, int]
"""(right, number) of some images."""


def better_in_strata(strata: Sequence[tuple[Counts, Counts]]) -> float:
    """The exact one-sided p-value that the first group of images is right more often than the second, stratum by stratum.

    strata: by stratum, the counts of both groups. Given the number right in both together, those of the first are hypergeometric
    if the groups are alike (Fisher 1935); their sum over the strata is tested (Birch 1964).
    """
    chances, lowest, observed = np.ones(1), 0, 0
    for (right, number), (other_right, other_number) in strata:
        both, all_right = number + other_number, right + other_right
        low, high = max(0, all_right - other_number), min(all_right, number)
        chances = np.convolve(chances, stats.hypergeom.pmf(np.arange(low, high + 1), both, all_right, number))
        lowest, observed = lowest + low, observed + right
    return float(min(1.0, chances[observed - lowest :].sum()))


def larger_in_strata(strata: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """The one-sided p-value that values of the first group are larger than those of the second, stratum by stratum.

    strata: by stratum, the values float (n,) and (m,) of both groups; NaN is left out.
    Rank sums of the strata are added with weights 1 / (n + m + 1) (van Elteren 1960). Ties have mean ranks; the sum is taken as
    normal. 1 without a stratum of two groups.
    """
    excess = variance = 0.0
    for first, second in (tuple(group[np.isfinite(group)] for group in pair) for pair in strata):
        n, m = len(first), len(second)
        if not n or not m:
            continue
        together = np.concatenate([first, second])
        ranks = stats.rankdata(together)
        weight = 1 / (n + m + 1)
        excess += weight * float(ranks[:n].sum() - n * (n + m + 1) / 2)
        variance += weight**2 * n * m / (n + m) * float(ranks.var(ddof=1))
    return float(stats.norm.sf(excess / np.sqrt(variance))) if variance > 0 else 1.0


def paired_t(first: Sequence[float], second: Sequence[float]) -> tuple[float, Interval]:
    """The p-value and the t-interval of the mean difference, paired by seed."""
    differences = np.subtract(first, second)
    if np.ptp(differences) == 0:
        # Without spread a t-test has no scale: equal rows are equal, and any other difference is certain.
        return (1.0 if differences[0] == 0 else 0.0), Interval(float(differences[0]), float(differences[0]))
    return float(stats.ttest_1samp(differences, 0.0).pvalue), t_interval(differences.tolist())


def bootstrap_p(draws: Array) -> float:
    """The two-sided p-value that a difference is zero: twice the smaller tail, with the +1 of Davison & Hinkley 1997."""
    tail = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    return min(1.0, 2 * (1 + tail) / (len(draws) + 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values adjusted by Holm's step-down method (1979). NaN, a pair not compared, stays NaN and does not count."""
    adjusted = [nan] * len(p_values)
    compared = sorted((p, k) for k, p in enumerate(p_values) if not np.isnan(p))
    running = 0.0
    for position, (p, k) in enumerate(compared):
        running = max(running, min(1.0, (len(compared) - position) * p))
        adjusted[k] = running
    return adjusted


@dataclass(frozen=True)
class RowOutcomes:
    """A row's outcomes under one attack, from which it is compared with others.

    samples[seed][task]: ids of the covered samples, ascending.
    correct[seed][task]: bool, aligned with them.
    """

    label: str
    samples: Mapping[int, Sequence[np.ndarray]]
    correct: Mapping[int, Sequence[np.ndarray]]


class DrawnHits:
    """The numbers of right samples in every resample, of rows that are compared with each other.

    They are drawn for all rows together, because turning the counts of the resamples into floating-point numbers costs
    more than the product with the outcomes.
    """

    def __init__(self, rows: Sequence[RowOutcomes]) -> None:
        self._rows = rows
        self._drawn: dict[int, dict[tuple[int, int], np.ndarray]] = {}

    def of(self, row: RowOutcomes, seed: int, resamples: int) -> np.ndarray:
        """The number of right samples among those drawn of each task: whole numbers, float32 (tasks, resamples)."""
        if resamples not in self._drawn:
            self._drawn[resamples] = self._draw(resamples)
        return self._drawn[resamples][id(row), seed]

    def _draw(self, resamples: int) -> dict[tuple[int, int], np.ndarray]:
        runs = {(id(row), seed): right for row in self._rows for seed, right in row.correct.items()}
        found = {run: np.empty((len(right), resamples), np.float32) for run, right in runs.items()}
        for task in range(max(len(right) for right in runs.values())):
            by_size: dict[int, list[tuple[int, int]]] = {}
            for run, right in runs.items():
                if task < len(right):
                    by_size.setdefault(len(right[task]), []).append(run)
            for size, alike in by_size.items():
                stacked = np.stack([runs[run][task] for run in alike], 1).astype(np.float32)
                hits = resample_counts(size, task, resamples).astype(np.float32) @ stacked
                for run, column in zip(alike, hits.T, strict=True):
                    found[run][task] = column
        return found


@dataclass(frozen=True, slots=True)
class Comparison:
    """first − second, in ACC under one attack on common seeds and samples; of a board's pairs it is `worst`.

    first, second: labels of the rows.
    difference, low, high: ACC in [0, 1] and its 95 % interval: over three or more seeds the smallest that holds the t-interval of
        the seeds and that of the bootstrap.
    p, p_holm: the p-value, and the same corrected over all pairs that were compared together.
    test: the test, in words.
    seeds, samples: numbers of common seeds, and of common samples of one seed.
    bootstrap_low, bootstrap_high: the hierarchical bootstrap's interval; over one or two seeds it is low and high.
    """

    first: str
    second: str
    difference: float
    low: float
    high: float
    p: float
    p_holm: float
    test: str
    seeds: int
    samples: int
    bootstrap_low: float = nan
    bootstrap_high: float = nan

    @property
    def better(self) -> str | None:
        """The label that is significantly better, or None."""
        if not self.p_holm < 1 - LEVEL or self.difference == 0:
            return None
        return self.first if self.difference > 0 else self.second


def compare(first: RowOutcomes, second: RowOutcomes, hits: DrawnHits | None = None) -> Comparison:
    """Compare one pair of rows; p_holm is p.

    One common seed: McNemar's test. Two: the hierarchical bootstrap. Three or more: that and the seed-paired t-test, of which
    the larger p-value counts, because the t-test takes the images as given and the bootstrap underrates the noise of few
    seeds.

    hits: drawn for these two rows among others; drawn here if None.
    """
    hits = hits or DrawnHits([first, second])
    seeds = sorted(set(first.correct) & set(second.correct))
    pairs = {seed: _common(first, second, seed) for seed in seeds}
    samples = sum(len(a) for a, _ in pairs[seeds[0]]) if seeds else 0
    if not seeds or any(not len(a) for tasks in pairs.values() for a, _ in tasks):
        return Comparison(first.label, second.label, nan, nan, nan, nan, nan, "nothing in common", len(seeds), samples)
    values = [[(float(a.mean()), float(b.mean())) for a, b in pairs[seed]] for seed in seeds]
    accuracies = np.asarray(values).mean(1)
    difference = float((accuracies[:, 0] - accuracies[:, 1]).mean())
    resamples = RESAMPLES if len(seeds) == 1 else PAIR_RESAMPLES
    draws = hierarchical([_difference_draws(first, second, seed, pairs[seed], resamples, hits) for seed in seeds])
    bootstrap = percentile_interval(draws)
    p, bounds, test = _tested((accuracies[:, 0] - accuracies[:, 1]).tolist(), draws)
    if len(seeds) == 1:
        flat = [np.concatenate(side) for side in zip(*pairs[seeds[0]], strict=True)]
        # With tasks of very different size another row may be ahead over all images together than on average over tasks.
        if (flat[0].mean() - flat[1].mean()) * difference >= 0:
            p, test = mcnemar(flat[0], flat[1]), "McNemar, exact"
    found = (first.label, second.label, difference, bounds.low, bounds.high, p, p, test, len(seeds), samples)
    return Comparison(*found, bootstrap.low, bootstrap.high)


def later_against_first(row: RowOutcomes, reference: RowOutcomes | None = None) -> Comparison:
    """The mean accuracy on the tasks after the first, less that on the first; p_holm is p.

    reference: if given, accuracies are what the row has more than the reference on common seeds and samples, so that a first
        task which is hard for both counts for nothing.

    One or two seeds: the bootstrap. Three or more: that and the t-test over seeds, of which the larger p-value counts.
    """
    later_tasks, first_task = f"{row.label}, later tasks", f"{row.label}, first task"
    seeds = sorted(set(row.correct) & set((reference or row).correct))
    deltas = {seed: _above(row, reference, seed) for seed in seeds}
    samples = sum(map(len, deltas[seeds[0]])) if seeds else 0
    if not seeds or any(len(tasks) < 2 or not all(map(len, tasks)) for tasks in deltas.values()):
        return Comparison(later_tasks, first_task, nan, nan, nan, nan, nan, "nothing to compare", len(seeds), samples)
    resamples = RESAMPLES if len(seeds) == 1 else PAIR_RESAMPLES
    values, draws = [], []
    for first, *later in deltas.values():
        values.append(float(np.mean([delta.mean() for delta in later]) - first.mean()))
        drawn = [_task_draws(delta, task, resamples) for task, delta in enumerate([first, *later])]
        draws.append(np.mean(drawn[1:], 0) - drawn[0])
    together = hierarchical(draws)
    p, bounds, test = _tested(values, together)
    bootstrap = percentile_interval(together)
    found = (later_tasks, first_task, float(np.mean(values)), bounds.low, bounds.high, p, p, test, len(seeds), samples)
    return Comparison(*found, bootstrap.low, bootstrap.high)


def _tested(differences: Sequence[float], draws: Array) -> tuple[float, Interval, str]:
    """The p-value, the interval and the test of a mean difference, from that of each seed and from its bootstrap draws."""
    if len(differences) >= 3:
        p, bounds = paired_t(differences, np.zeros(len(differences)).tolist())
        drawn = percentile_interval(draws)
        # Of two tests the larger p counts, so the interval holds both: it excludes zero only where both tests reject it.
        both = Interval(min(bounds.low, drawn.low), max(bounds.high, drawn.high))
        return max(p, bootstrap_p(draws)), both, f"paired t over {len(differences)} seeds, and hierarchical bootstrap"
    test = "bootstrap over samples" if len(differences) == 1 else "hierarchical bootstrap"
    return bootstrap_p(draws), percentile_interval(draws), test


def _above(row: RowOutcomes, reference: RowOutcomes | None, seed: int) -> list[np.ndarray]:
    """Per task the outcomes of the row, float32 (n,), less those of the reference."""
    if reference is None:
        return [right.astype(np.float32) for right in row.correct[seed]]
    return [a.astype(np.float32) - b.astype(np.float32) for a, b in _common(row, reference, seed)]


def _common(first: RowOutcomes, second: RowOutcomes, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The paired outcomes per task, on the samples that both cover."""
    pairs = []
    for j in range(min(len(first.samples[seed]), len(second.samples[seed]))):
        ids, other = first.samples[seed][j], second.samples[seed][j]
        _, mine, theirs = np.intersect1d(ids, other, assume_unique=True, return_indices=True)
        pairs.append((first.correct[seed][j][mine], second.correct[seed][j][theirs]))
    return pairs


def _difference_draws(
    first: RowOutcomes,
    second: RowOutcomes,
    seed: int,
    pairs: list[tuple[np.ndarray, np.ndarray]],
    resamples: int,
    hits: DrawnHits,
) -> Array:
    """Draw the difference in ACC of one seed, from its paired outcomes per task."""
    mine, theirs = first.correct[seed], second.correct[seed]
    if len(mine) == len(theirs) and all(
        len(a) == len(b) == len(common) for a, b, (common, _) in zip(mine, theirs, pairs, strict=True)
    ):
        # Subtracted as whole numbers: a draw in which the two are equal is 0 and not nearly 0.
        ahead = hits.of(first, seed, resamples) - hits.of(second, seed, resamples)
        return (ahead / np.array([[len(right)] for right in mine])).mean(0)
    total = np.zeros(resamples)
    for task, (a, b) in enumerate(pairs):
        total += _task_draws(a.astype(np.float32) - b.astype(np.float32), task, resamples)
    return total / len(pairs)


def _task_draws(delta: np.ndarray, task: int, resamples: int) -> Array:
    """The mean of float32 (n,) in every resample of a task's samples."""
    counts = resample_counts(len(delta), task, resamples)
    # Only discordant samples move the difference; there are few of them.
    moving = np.flatnonzero(delta)
    return (counts[:, moving].astype(np.float32) @ delta[moving]) / len(delta)


def compare_all(rows: Sequence[RowOutcomes]) -> list[Comparison]:
    """Compare all pairs, with Holm's correction over them."""
    hits = DrawnHits(rows)
    pairs = [compare(a, b, hits) for k, a in enumerate(rows) for b in rows[k + 1 :]]
    corrected = holm([pair.p for pair in pairs])
    return [replace(pair, p_holm=p) for pair, p in zip(pairs, corrected, strict=True)]


def ranks(labels: Sequence[str], comparisons: Sequence[Comparison]) -> dict[str, int]:
    """The rank by label: 1 + the number of rows that are significantly better. Rows that cannot be told apart may share one."""
    beaten = dict.fromkeys(labels, 0)
    for comparison in comparisons:
        better = comparison.better
        if better is not None:
            beaten[comparison.second if better == comparison.first else comparison.first] += 1
    return {label: 1 + count for label, count in beaten.items()}
