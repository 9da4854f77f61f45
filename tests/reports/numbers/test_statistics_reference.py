"""Intervals, tests and corrections are those of scipy and statsmodels, on inputs made up at random."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as reference_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from reports.numbers import metrics
from reports.numbers.statistics import bootstrap, comparisons, intervals
from reports.numbers.statistics.comparisons import RowOutcomes


@pytest.fixture(params=range(5))
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    return np.random.default_rng(request.param)


@pytest.mark.parametrize("n", [1, 10, 500])
def test_wilson_is_that_of_statsmodels(n: int) -> None:
    for successes in sorted({0, 1, n // 3, n - 1, n}):
        found = intervals.wilson(successes, n)
        expected = proportion_confint(successes, n, method="wilson")
        assert (found.low, found.high) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_t_interval_is_that_of_scipy(seeds: int, rng: np.random.Generator) -> None:
    values = rng.normal(0.4, 0.02, seeds)
    found = intervals.t_interval(values.tolist())
    assert (found.low, found.high) == pytest.approx(stats.t.interval(0.95, seeds - 1, values.mean(), stats.sem(values)))
    assert (found.low, found.high) == pytest.approx(tuple(stats.ttest_1samp(values, 0.4).confidence_interval(0.95)))


@pytest.mark.parametrize("seeds", [3, 5])
def test_paired_t_is_that_of_scipy(seeds: int, rng: np.random.Generator) -> None:
    first, second = rng.normal(0.4, 0.02, (2, seeds))
    p, found = comparisons.paired_t(first.tolist(), second.tolist())
    expected = stats.ttest_rel(first, second)
    assert p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))


@pytest.mark.parametrize("n", [5, 40, 500])
def test_mcnemar_is_the_exact_one_of_statsmodels(n: int, rng: np.random.Generator) -> None:
    a, b = rng.random(n) < 0.7, rng.random(n) < 0.6
    table = [[(a & b).sum(), (a & ~b).sum()], [(~a & b).sum(), (~a & ~b).sum()]]
    assert comparisons.mcnemar(a, b) == pytest.approx(reference_mcnemar(table, exact=True).pvalue)
    assert comparisons.mcnemar(a, a) == 1


@pytest.mark.parametrize("pairs", [1, 6, 91])
def test_holm_is_that_of_statsmodels(pairs: int, rng: np.random.Generator) -> None:
    p = rng.random(pairs) ** 4
    p[pairs // 2 :] = p[pairs // 2]
    assert comparisons.holm(p.tolist()) == pytest.approx(multipletests(p, method="holm")[1])


def test_bootstrap_is_that_of_scipy(rng: np.random.Generator) -> None:
    """The same interval up to the noise of the resamples: tasks are resampled apart, and ACC is their mean."""
    tasks = [(rng.random(n) < p).astype(np.int8) for n, p in ((60, 0.8), (100, 0.5), (150, 0.2))]
    drawn = bootstrap.bootstrap_matrices({"a": {(2, j): right for j, right in enumerate(tasks)}}, 3)["a"]
    found = intervals.percentile_interval(metrics.acc(drawn))
    expected = stats.bootstrap(
        tasks,
        lambda *samples, axis: np.mean([sample.mean(axis) for sample in samples], 0),
        method="percentile",
        n_resamples=2000,
        rng=rng,
    )
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval), abs=0.006)
    assert metrics.acc(drawn).std() == pytest.approx(expected.standard_error, rel=0.08)


def test_a_pair_of_one_seed_has_scipys_paired_bootstrap(rng: np.random.Generator) -> None:
    one, other = rng.random((2, 200)) < [[0.7], [0.6]]
    found = comparisons.compare(
        *(RowOutcomes(label, {0: [np.arange(200)]}, {0: [right]}) for label, right in (("a", one), ("b", other)))
    )
    expected = stats.bootstrap(
        (one.astype(float), other.astype(float)),
        lambda a, b, axis: (a - b).mean(axis),
        paired=True,
        method="percentile",
        n_resamples=2000,
        rng=rng,
    ).confidence_interval
    assert found.difference == pytest.approx(one.mean() - other.mean())
    assert (found.low, found.high) == pytest.approx(tuple(expected), abs=0.015)


def test_the_hierarchical_bootstrap_adds_the_noise_of_seeds_to_that_of_images(rng: np.random.Generator) -> None:
    """Its variance is that of drawing seeds with replacement plus that of drawing images: var(m)/S at ddof=0 + p(1-p)/n."""
    seeds, n = 4, 4000
    shares = rng.uniform(0.4, 0.6, seeds)
    right = (rng.random(n) < shares[:, None]).astype(np.int8)
    draws = bootstrap.hierarchical(list(bootstrap.resampled_accuracies(right, 0, 10_000).T))
    of_seeds = right.mean(1).var() / seeds
    # The product of a seed's deviation and an image's is of second order.
    of_images = right.mean(0).var() / n
    assert draws.mean() == pytest.approx(right.mean(), abs=0.002)
    assert draws.var() == pytest.approx(of_seeds + of_images, rel=0.08)
