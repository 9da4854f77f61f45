"""Uncertainty of metrics, tests between methods, and ranks that methods share when they cannot be told apart.

Everything is deterministic: resamples are drawn from fixed seeds, one per task, and are the same for every cell, method
and seed, so differences are paired.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
from scipy import stats

from reports.numbers.metrics import Array
from reports.numbers.outcomes import OutcomeCell

LEVEL = 0.95
_Z = float(stats.norm.ppf((1 + LEVEL) / 2))
RESAMPLES = 2000
PAIR_RESAMPLES = 10_000
"""More for tests: after Holm's correction over many pairs a p-value must be able to be small."""
SEED = 20_240_229
_DRAWS_AT_ONCE = 4_000_000

ONE_SEED = "test-set noise only"
TWO_SEEDS = "hierarchical bootstrap over 2 seeds"
NO_INTERVAL = "n/a"


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % interval; NaN where there is none."""

    low: float
    high: float


NOT_AVAILABLE = Interval(float("nan"), float("nan"))


def wilson(successes: int, n: int) -> Interval:
    """Wilson score interval of a proportion (Wilson 1927): for the accuracy on a single task."""
    if n == 0:
        return NOT_AVAILABLE
    # Written out: scipy's exact test behind the same interval takes a millisecond, and there are thousands of tasks.
    z, p = _Z, successes / n
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return Interval(max(0.0, float(centre - half)), min(1.0, float(centre + half)))


def t_interval(values: Sequence[float]) -> Interval:
    """mean ± t_{n-1} s/√n with s at ddof=1, over the seeds' values; needs at least two and no NaN."""
    sample = np.asarray(values, float)
    if len(sample) < 2 or np.isnan(sample).any():
        return NOT_AVAILABLE
    half = stats.t.ppf((1 + LEVEL) / 2, len(sample) - 1) * sample.std(ddof=1) / np.sqrt(len(sample))
    return Interval(float(sample.mean() - half), float(sample.mean() + half))


def percentile_interval(draws: Array) -> Interval:
    """The central 95 % of bootstrap draws; none if a draw is NaN (the metric is not defined there)."""
    if draws.size == 0 or np.isnan(draws).any():
        return NOT_AVAILABLE
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))


def interval_kind(seeds: int) -> str:
    if seeds == 0:
        return NO_INTERVAL
    return {1: ONE_SEED, 2: TWO_SEEDS}.get(seeds, f"t-interval over {seeds} seeds")


# -- the bootstrap ----------------------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def resample_counts(n: int, task: int, resamples: int = RESAMPLES) -> np.ndarray:
    """How often each of a task's n test samples is drawn in each resample: uint8 (resamples, n), rows sum to n."""
    rng = np.random.default_rng([SEED, task, n])
    counts = np.empty((resamples, n), np.uint8)
    chunk = max(1, _DRAWS_AT_ONCE // n)
    for start in range(0, resamples, chunk):
        rows = min(chunk, resamples - start)
        drawn = rng.integers(0, n, size=(rows, n)) + np.arange(rows)[:, None] * n
        found = np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n)
        counts[start : start + rows] = np.minimum(found, 255)
    return counts


def resampled_accuracies(correct: np.ndarray, task: int, resamples: int = RESAMPLES) -> Array:
    """Accuracy of every cell in every resample of one task's samples: (resamples, cells) from int8 (cells, n).

    Samples that no cell measured are not drawn; where a cell measured only some, its accuracy is over those drawn.
    """
    correct = correct[:, (correct >= 0).any(0)]
    n = correct.shape[1]
    if n == 0:
        return np.full((resamples, len(correct)), np.nan)
    counts = resample_counts(n, task, resamples).astype(np.float32)
    hits = counts @ (correct == 1).T.astype(np.float32)
    if (correct >= 0).all():
        return hits.astype(float) / n
    measured = counts @ (correct >= 0).T.astype(np.float32)
    with np.errstate(invalid="ignore"):
        return hits.astype(float) / measured


def bootstrap_matrices(
    cells: Mapping[str, Mapping[OutcomeCell, np.ndarray]],
    tasks: int,
    resamples: int = RESAMPLES,
    last_row: Collection[str] = (),
) -> dict[str, Array]:
    """R of every attack under a bootstrap over test samples, stratified by task: (resamples, T, T) each.

    last_row: attacks of which the last row alone is wanted, (resamples, 1, T): of a hundred attacks over twenty tasks whole
    matrices would be a gigabyte.

    One resample of a task's samples serves all cells of all attacks, so any function of the matrices may be taken
    draw by draw, differences between attacks included.
    """
    first = {attack: tasks - 1 if attack in last_row else 0 for attack in cells}
    matrices = {attack: np.full((resamples, tasks - first[attack], tasks), np.nan) for attack in cells}
    for task in range(tasks):
        places = [(attack, i) for attack in cells for (i, j) in cells[attack] if j == task and i >= first[attack]]
        if not places:
            continue
        stacked = np.stack([cells[attack][i, task] for attack, i in places])
        drawn = resampled_accuracies(stacked, task, resamples)
        for column, (attack, i) in enumerate(places):
            matrices[attack][:, i - first[attack], task] = drawn[:, column]
    return matrices


@lru_cache(maxsize=16)
def seed_weights(seeds: int, resamples: int) -> Array:
    """The outer level of the hierarchical bootstrap: the weight of each seed in each resample, (resamples, seeds)."""
    rng = np.random.default_rng([SEED, seeds])
    return rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples) / seeds


def hierarchical(draws: Sequence[Array]) -> Array:
    """Hierarchical bootstrap: seeds are drawn, then samples within tasks.

    draws: per seed the metric in each resample (resamples,). The seeds share the test samples, so they share the
    resample of the samples too; the result is the mean over the drawn seeds.
    """
    stacked = np.stack(draws, 1)
    return (seed_weights(stacked.shape[1], len(stacked)) * stacked).sum(1)


def interval(values: Sequence[float], draws: Callable[[], Sequence[Array]]) -> Interval:
    """The interval of a metric by number of seeds: one or two, the bootstrap; three or more, the t-interval.

    values: the metric per seed; draws: gives the metric's bootstrap draws per seed (called only where needed).
    """
    if len(values) == 0 or np.isnan(values).any():
        return NOT_AVAILABLE
    return t_interval(values) if len(values) >= 3 else percentile_interval(hierarchical(draws()))


# -- comparisons ------------------------------------------------------------------------------------------------------


def mcnemar(first: np.ndarray, second: np.ndarray) -> float:
    """Exact two-sided p-value of McNemar's test (1947) on paired outcomes, bool (n,): binomial, discordant pairs."""
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    if only_first + only_second == 0:
        return 1.0
    return float(stats.binomtest(only_first, only_first + only_second).pvalue)


def significantly_better(better: np.ndarray, worse: np.ndarray) -> float:
    """One-sided exact p-value that `better` is right more often than `worse` on the same samples, bool (n,) each."""
    only_better, only_worse = int((better & ~worse).sum()), int((~better & worse).sum())
    if only_better + only_worse == 0:
        return 1.0
    return float(stats.binomtest(only_better, only_better + only_worse, alternative="greater").pvalue)


def paired_t(first: Sequence[float], second: Sequence[float]) -> tuple[float, Interval]:
    """p-value and t-interval of the mean seed-paired difference."""
    differences = np.subtract(first, second)
    if np.ptp(differences) == 0:
        # No spread at all: identical seeds tell nothing unless they differ, and then a t-test has no scale either.
        return (1.0 if differences[0] == 0 else 0.0), Interval(float(differences[0]), float(differences[0]))
    return float(stats.ttest_1samp(differences, 0.0).pvalue), t_interval(differences.tolist())


def bootstrap_p(draws: Array) -> float:
    """Two-sided p-value that a difference is zero: twice the smaller tail, with the +1 of Davison & Hinkley 1997."""
    tail = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    return min(1.0, 2 * (1 + tail) / (len(draws) + 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values (1979); NaN (not compared) stays NaN and does not count."""
    adjusted = [float("nan")] * len(p_values)
    compared = sorted((p, k) for k, p in enumerate(p_values) if not np.isnan(p))
    running = 0.0
    for position, (p, k) in enumerate(compared):
        running = max(running, min(1.0, (len(compared) - position) * p))
        adjusted[k] = running
    return adjusted


@dataclass(frozen=True)
class RowScores:
    """What a comparison needs of a row: per seed, per task, the outcome of `worst` on each sample.

    samples[seed][task]: ids of the covered samples, ascending; correct[seed][task]: bool, aligned with them.
    """

    label: str
    samples: Mapping[int, Sequence[np.ndarray]]
    correct: Mapping[int, Sequence[np.ndarray]]

    @cached_property
    def _drawn(self) -> dict[tuple[int, int], np.ndarray]:
        return {}

    def hits(self, seed: int, resamples: int) -> np.ndarray:
        """How many of each task's drawn samples are right in each resample: whole numbers, float32 (tasks, resamples).

        Made once for all pairs that the row is in.
        """
        if (seed, resamples) not in self._drawn:
            drawn = np.empty((len(self.correct[seed]), resamples), np.float32)
            for task, right in enumerate(self.correct[seed]):
                drawn[task] = resample_counts(len(right), task, resamples).astype(np.float32) @ right.astype(np.float32)
            self._drawn[seed, resamples] = drawn
        return self._drawn[seed, resamples]


@dataclass(frozen=True, slots=True)
class Comparison:
    """first − second, in ACC of worst on common seeds and samples. p_holm is corrected over all pairs of the board.

    bootstrap_low, bootstrap_high: the hierarchical bootstrap's interval, which over one or two seeds is low and high.
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
    bootstrap_low: float = float("nan")
    bootstrap_high: float = float("nan")

    @property
    def better(self) -> str | None:
        """The label that is significantly better, or None."""
        if not self.p_holm < 1 - LEVEL or self.difference == 0:
            return None
        return self.first if self.difference > 0 else self.second


def compare(first: RowScores, second: RowScores) -> Comparison:
    """One pair: common seed(s) one, McNemar; two, hierarchical bootstrap; three or more, that and seed-paired t. p_holm = p.

    The t-test takes the images as given and the bootstrap underrates the noise of few seeds: the larger p-value counts.
    """
    seeds = sorted(set(first.correct) & set(second.correct))
    pairs = {seed: _common(first, second, seed) for seed in seeds}
    samples = sum(len(a) for a, _ in pairs[seeds[0]]) if seeds else 0
    nan = float("nan")
    if not seeds or any(not len(a) for tasks in pairs.values() for a, _ in tasks):
        return Comparison(first.label, second.label, nan, nan, nan, nan, nan, "nothing in common", len(seeds), samples)
    values = [[(float(a.mean()), float(b.mean())) for a, b in pairs[seed]] for seed in seeds]
    accuracies = np.asarray(values).mean(1)
    difference = float((accuracies[:, 0] - accuracies[:, 1]).mean())
    resamples = RESAMPLES if len(seeds) == 1 else PAIR_RESAMPLES
    draws = hierarchical([_difference_draws(first, second, seed, pairs[seed], resamples) for seed in seeds])
    bootstrap = bounds = percentile_interval(draws)
    if len(seeds) >= 3:
        p, bounds = paired_t(accuracies[:, 0].tolist(), accuracies[:, 1].tolist())
        p, test = max(p, bootstrap_p(draws)), f"paired t over {len(seeds)} seeds, and hierarchical bootstrap"
    elif len(seeds) == 1:
        flat = [np.concatenate(side) for side in zip(*pairs[seeds[0]], strict=True)]
        p, test = mcnemar(flat[0], flat[1]), "McNemar, exact"
        if (flat[0].mean() - flat[1].mean()) * difference < 0:
            # Tasks of very different size: what holds for all images together is not what holds on average over tasks.
            p, test = bootstrap_p(draws), "bootstrap over samples"
    else:
        p, test = bootstrap_p(draws), "hierarchical bootstrap"
    found = (first.label, second.label, difference, bounds.low, bounds.high, p, p, test, len(seeds), samples)
    return Comparison(*found, bootstrap.low, bootstrap.high)


def _common(first: RowScores, second: RowScores, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Per task the outcomes of both on the samples that both cover."""
    pairs = []
    for j in range(min(len(first.samples[seed]), len(second.samples[seed]))):
        ids, other = first.samples[seed][j], second.samples[seed][j]
        _, mine, theirs = np.intersect1d(ids, other, assume_unique=True, return_indices=True)
        pairs.append((first.correct[seed][j][mine], second.correct[seed][j][theirs]))
    return pairs


def _difference_draws(
    first: RowScores, second: RowScores, seed: int, pairs: list[tuple[np.ndarray, np.ndarray]], resamples: int
) -> Array:
    """Bootstrap draws of the difference in ACC of one seed, from its paired outcomes per task."""
    mine, theirs = first.correct[seed], second.correct[seed]
    if len(mine) == len(theirs) and all(
        len(a) == len(b) == len(common) for a, b, (common, _) in zip(mine, theirs, pairs, strict=True)
    ):
        # Subtracted as whole numbers: a draw in which the two are equal is 0 and not nearly 0.
        ahead = first.hits(seed, resamples) - second.hits(seed, resamples)
        return (ahead / np.array([[len(right)] for right in mine])).mean(0)
    total = np.zeros(resamples)
    for task, (a, b) in enumerate(pairs):
        delta = a.astype(np.float32) - b.astype(np.float32)
        counts = resample_counts(len(delta), task, resamples)
        # Only discordant samples move the difference; there are few of them.
        moving = np.flatnonzero(delta)
        total += (counts[:, moving].astype(np.float32) @ delta[moving]) / len(delta)
    return total / len(pairs)


def compare_all(rows: Sequence[RowScores]) -> list[Comparison]:
    """All pairs, with Holm's correction over them."""
    pairs = [compare(a, b) for k, a in enumerate(rows) for b in rows[k + 1 :]]
    corrected = holm([pair.p for pair in pairs])
    return [replace(pair, p_holm=p) for pair, p in zip(pairs, corrected, strict=True)]


def ranks(labels: Sequence[str], comparisons: Sequence[Comparison]) -> dict[str, int]:
    """Rank = 1 + number of methods that are significantly better: those that cannot be told apart may share one."""
    beaten = dict.fromkeys(labels, 0)
    for comparison in comparisons:
        better = comparison.better
        if better is not None:
            beaten[comparison.second if better == comparison.first else comparison.first] += 1
    return {label: 1 + count for label, count in beaten.items()}
