"""Simulated: 95 % intervals cover the truth in 95 % of the cases, and equal methods are told apart in at most 5 %.

Rates are compared with those that chance allows in so many repetitions. `python -m tests.reports.coverage` makes many more.
"""

from __future__ import annotations

import numpy as np
import pytest

from reports.numbers import metrics
from reports.numbers.statistics import bootstrap
from tests.reports.coverage import World, draw, limits, one_run, over_seeds, told_apart, wilson


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20_241_125)


@pytest.mark.parametrize("own", [0.0, 0.2])
def test_the_world_has_the_accuracies_it_says(own: float, rng: np.random.Generator) -> None:
    runs = draw(World(accuracy=0.3, tasks=2, samples=100_000, own=own), 2, 2, rng, better=0.1)
    assert runs.right.mean((1, 2, 3)) == pytest.approx([0.4, 0.3], abs=0.005)
    assert runs.here == pytest.approx([0.4, 0.3], abs=0.005)
    moving = draw(World(accuracy=0.3, tasks=1, samples=500, seed_sd=0.04, own=own), 1, 4000, rng)
    accuracies = moving.right.mean((-1, -2))[0]
    assert moving.here[0] == pytest.approx(accuracies.mean(), abs=0.004)
    # The rest of the images' own noise is below 0.021.
    assert 0.037 < accuracies.std() < np.hypot(0.042, 0.021)


@pytest.mark.parametrize(("tasks", "samples"), [(3, 100), (3, 500), (20, 100), (20, 500)])
def test_the_bootstrap_covers_what_a_run_has_on_all_images(tasks: int, samples: int, rng: np.random.Generator) -> None:
    rate = one_run(World(tasks=tasks, samples=samples), 400, rng)
    print(rate)
    assert 0.92 <= rate.rate <= 0.975


def test_drawing_task_by_task_is_the_bootstrap_of_the_matrices(rng: np.random.Generator) -> None:
    right = (rng.random((3, 60)) < 0.5).astype(np.int8)
    drawn = bootstrap.bootstrap_matrices({"a": {(2, j): right[j] for j in range(3)}}, 3)["a"]
    by_task = np.mean([bootstrap.resampled_accuracies(right[j][None], j)[:, 0] for j in range(3)], 0)
    assert metrics.acc(drawn) == pytest.approx(by_task)


@pytest.mark.parametrize(("accuracy", "n"), [(0.4, 100), (0.05, 100), (0.9, 500)])
def test_wilson_covers_the_accuracy_on_a_task(accuracy: float, n: int, rng: np.random.Generator) -> None:
    assert 0.93 <= wilson(accuracy, n, 2000, rng).rate <= 0.98


@pytest.mark.parametrize("seeds", [3, 5])
def test_the_t_interval_covers_the_mean_over_seeds(seeds: int, rng: np.random.Generator) -> None:
    here, _ = over_seeds(World(seed_sd=0.02), seeds, 600, rng)
    low, high = limits(0.95, 600)
    assert low <= here.rate <= high


def test_one_seed_has_test_set_noise_only(rng: np.random.Generator) -> None:
    still, moving = (over_seeds(World(samples=500, seed_sd=sd), 1, 200, rng)[1] for sd in (0.0, 0.03))
    assert limits(0.95, 200)[0] <= still.rate
    assert moving.rate < 0.75


@pytest.mark.parametrize(("methods", "seeds", "repetitions"), [(2, 1, 200), (8, 1, 30), (2, 3, 200), (8, 3, 40)])
def test_equal_methods_share_a_rank(methods: int, seeds: int, repetitions: int, rng: np.random.Generator) -> None:
    world = World(seed_sd=0.02 if seeds > 1 else 0.0, own=0.0 if seeds > 1 else 0.2)
    assert told_apart(world, methods, seeds, repetitions, rng).rate <= limits(0.05, repetitions)[1]


@pytest.mark.parametrize("seeds", [1, 3])
def test_ten_points_are_found(seeds: int, rng: np.random.Generator) -> None:
    world = World(seed_sd=0.01 if seeds > 1 else 0.0)
    assert told_apart(world, 2, seeds, 100, rng, better=0.1).rate >= 0.85
