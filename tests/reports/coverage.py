"""Simulations of the coverage of 95 % intervals and of the level of tests: `python -m tests.reports.coverage` prints the tables.

A run is right on an image if q + difficulty + own + seed + rest > 0, a probit model. The difficulty of an image is the same for
all methods; `own` adds to it for one method, in all its seeds; `seed` moves a whole run; the rest is of one run and image. So a
method's true accuracy over seeds is known, on the images that were drawn and on all others.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy import stats

from reports.numbers.metrics import Array
from reports.numbers.statistics import bootstrap, comparisons, intervals
from reports.numbers.statistics.comparisons import RowOutcomes
from reports.numbers.statistics.intervals import Interval

DIFFICULTY = 0.5
"""Share of an image's variance that all methods share; `own` and the rest are the other half."""


@dataclass(frozen=True)
class World:
    """accuracy: of every method, over seeds and images; seed_sd: of a run's accuracy over seeds; own: share of variance."""

    accuracy: float = 0.4
    tasks: int = 3
    samples: int = 200
    seed_sd: float = 0.0
    own: float = 0.2

    @property
    def spread(self) -> float:
        """Standard deviation of the seed's effect, where an image's effects have 1 together."""
        return self.seed_sd / float(stats.norm.pdf(stats.norm.ppf(self.accuracy)))

    def quality(self, accuracy: float | Array) -> Array:
        return np.asarray(stats.norm.ppf(accuracy) * np.sqrt(1 + self.spread**2))


@dataclass(frozen=True)
class Runs:
    """Drawn runs. right: bool (methods, seeds, tasks, samples); here: true accuracy of each method on these images."""

    right: np.ndarray
    here: Array


def draw(world: World, methods: int, seeds: int, rng: np.random.Generator, better: float = 0.0) -> Runs:
    """Runs of equally good methods; the first is `better` by so much accuracy."""
    images = (world.tasks, world.samples)
    q = world.quality(np.array([world.accuracy + better] + [world.accuracy] * (methods - 1)))[:, None, None]
    fixed = q + np.sqrt(DIFFICULTY) * rng.normal(size=images) + np.sqrt(world.own) * rng.normal(size=(methods, *images))
    rest = 1 - DIFFICULTY - world.own
    moved = fixed[:, None] + world.spread * rng.normal(size=(methods, seeds, 1, 1))
    right = moved + np.sqrt(rest) * rng.normal(size=(methods, seeds, *images)) > 0
    here = stats.norm.cdf(fixed / np.sqrt(rest + world.spread**2)).mean((-1, -2))
    return Runs(right, here)


@dataclass(frozen=True)
class Rate:
    """The rate of an event over repetitions; width: mean half-width of the intervals, if the event is about intervals."""

    what: str
    setting: str
    times: int
    repetitions: int
    width: float = float("nan")

    @property
    def rate(self) -> float:
        return self.times / self.repetitions


def limits(level: float, repetitions: int, certainty: float = 0.999) -> tuple[float, float]:
    """Between which rates a thing of probability `level` happens in so many repetitions, but for once in 1,000 times."""
    low, high = stats.binom.interval(certainty, repetitions, level)
    return float(low / repetitions), float(high / repetitions)


def _covered(what: str, setting: str, intervals: list[Interval], truths: list[float] | Array) -> Rate:
    hits = sum(each.low <= truth <= each.high for each, truth in zip(intervals, truths, strict=True))
    width = float(np.mean([(each.high - each.low) / 2 for each in intervals]))
    return Rate(what, setting, int(hits), len(intervals), width)


# -- intervals --------------------------------------------------------------------------------------------------------


def wilson(accuracy: float, n: int, repetitions: int, rng: np.random.Generator) -> Rate:
    """Wilson's interval of one task's accuracy: images of one probability."""
    found = [intervals.wilson(int(k), n) for k in rng.binomial(n, accuracy, repetitions)]
    return _covered("Wilson, one task", f"{n} images, accuracy {accuracy:.0%}", found, [accuracy] * repetitions)


def one_run(world: World, repetitions: int, rng: np.random.Generator) -> Rate:
    """The bootstrap of one run, for that run's accuracy over all images that there could be; tasks of different accuracy."""
    shares = np.linspace(world.accuracy - 0.25, world.accuracy + 0.25, world.tasks)
    total = np.zeros((bootstrap.RESAMPLES, repetitions))
    for task, share in enumerate(shares):
        right = (rng.random((repetitions, world.samples)) < share).astype(np.int8)
        total += bootstrap.resampled_accuracies(right, task)
    found = [intervals.percentile_interval(draws) for draws in (total / world.tasks).T]
    setting = f"{world.tasks} tasks x {world.samples} images"
    return _covered("bootstrap, one run", setting, found, [world.accuracy] * repetitions)


def over_seeds(world: World, seeds: int, repetitions: int, rng: np.random.Generator) -> list[Rate]:
    """The interval that a row of so many seeds has, for its accuracy over seeds: on these images, and on all."""
    drawn = [draw(world, 1, seeds, rng) for _ in range(repetitions)]
    right = np.stack([runs.right[0] for runs in drawn])
    found = _intervals(right)
    kind = {1: "bootstrap, 1 seed", 2: "hierarchical, 2 seeds"}.get(seeds, f"t, {seeds} seeds")
    setting = f"{world.tasks} x {world.samples} images, seeds {100 * world.seed_sd:.0f} points apart"
    here = [float(runs.here[0]) for runs in drawn]
    return [
        _covered(f"{kind}, on these images", setting, found, here),
        _covered(f"{kind}, on all images", setting, found, [world.accuracy] * repetitions),
    ]


def _intervals(right: np.ndarray) -> list[Interval]:
    """The intervals of ACC, as rows of the leaderboard have them; right: (repetitions, seeds, tasks, samples)."""
    repetitions, seeds, tasks, samples = right.shape
    draws: list[list[Array]] = []
    if seeds < 3:
        cells = right.astype(np.int8).transpose(2, 0, 1, 3).reshape(tasks, repetitions * seeds, samples)
        total = sum(bootstrap.resampled_accuracies(task, j) for j, task in enumerate(cells)) / tasks
        draws = [list(each) for each in np.asarray(total).T.reshape(repetitions, seeds, -1)]
    return [
        intervals.interval(each.mean((-1, -2)).tolist(), lambda k=k: draws[k])  # type: ignore[misc]
        for k, each in enumerate(right)
    ]


# -- comparisons ------------------------------------------------------------------------------------------------------


def told_apart(
    world: World, methods: int, seeds: int, repetitions: int, rng: np.random.Generator, better: float = 0.0
) -> Rate:
    """The rate at which any pair of equal methods is told apart; if one is better, the rate over the pairs with it."""
    times = pairs = 0
    for _ in range(repetitions):
        runs = draw(world, methods, seeds, rng, better)
        found = [pair.better for pair in comparisons.compare_all(_scored(runs)) if not better or pair.first == "0"]
        times += sum(label == "0" for label in found) if better else any(found)
        pairs += len(found) if better else 1
    apart = f"seeds {100 * world.seed_sd:.0f} points apart, own {world.own:g}"
    what = f"{100 * better:.0f} points better, found" if better else "equal, told apart"
    return Rate(f"{methods} methods, {what}", f"{_counted(seeds)}, {apart}", times, pairs)


def _scored(runs: Runs) -> list[RowOutcomes]:
    methods, seeds, tasks, samples = runs.right.shape
    ids = dict.fromkeys(range(seeds), [np.arange(samples)] * tasks)
    return [
        RowOutcomes(str(m), ids, {seed: list(runs.right[m, seed]) for seed in range(seeds)}) for m in range(methods)
    ]


def _counted(seeds: int) -> str:
    return f"{seeds} seed{'s' if seeds > 1 else ''}"


# -- the tables -------------------------------------------------------------------------------------------------------


def coverage(repetitions: int, rng: np.random.Generator) -> Iterator[Rate]:
    """Every kind of interval."""
    for accuracy, n in ((0.4, 100), (0.4, 500), (0.05, 100)):
        yield wilson(accuracy, n, repetitions, rng)
    for tasks, samples in ((3, 100), (3, 500), (20, 100), (20, 500)):
        yield one_run(World(tasks=tasks, samples=samples), repetitions, rng)
    for seeds in (1, 2, 3, 5):
        for seed_sd in (0.0, 0.01, 0.02) if seeds == 1 else (0.01, 0.02):
            yield from over_seeds(World(tasks=5, samples=500, seed_sd=seed_sd), seeds, repetitions, rng)


def errors(repetitions: int, rng: np.random.Generator) -> Iterator[Rate]:
    """Equal methods that are told apart, any of them; worlds in which images are harder for one method, and not."""
    for methods in (2, 8):
        # A pair over two seeds takes 10,000 draws of either: 28 of them are not worth the wait.
        for seeds, seed_sd in ((1, 0.0), (1, 0.02), *(((2, 0.02),) if methods == 2 else ()), (3, 0.02), (5, 0.02)):
            for own in (0.0, 0.2):
                yield told_apart(World(seed_sd=seed_sd, own=own), methods, seeds, repetitions, rng)


def power(repetitions: int, rng: np.random.Generator) -> Iterator[Rate]:
    """A method that is better than the others, which are equal."""
    for better in (0.05, 0.1):
        for methods in (2, 8):
            for seeds in (1, 3, 5):
                world = World(seed_sd=0.01 if seeds > 1 else 0.0)
                yield told_apart(world, methods, seeds, max(1, repetitions // (methods - 1)), rng, better)


TABLES: dict[str, tuple[str, Callable[[int, np.random.Generator], Iterator[Rate]], float]] = {
    "coverage": ("intervals that cover the truth, nominally 95 %", coverage, 0.95),
    "errors": ("repetitions with any pair of equal methods told apart, at most 5 % if all is well", errors, 0.05),
    "power": ("pairs with the better method that are told apart, and rightly", power, float("nan")),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.reports.coverage", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--repetitions", type=int, default=1000, metavar="N")
    options = parser.parse_args()
    for k, (title, rates, level) in enumerate(TABLES.values()):
        print(f"\n{title}; {options.repetitions:,} repetitions", end="")
        if level == level:
            low, high = (100 * limit for limit in limits(level, options.repetitions))
            print(f", in which {100 * level:.0f} % is {low:.1f} to {high:.1f}", end="")
        print("\n\n| what | where | % | ± points |\n|:---|:---|---:|---:|")
        for each in rates(options.repetitions, np.random.default_rng([bootstrap.SEED, k])):
            width = f"{100 * each.width:.1f}" if each.width == each.width else ""
            print(f"| {each.what} | {each.setting} | {100 * each.rate:.1f} | {width} |", flush=True)


if __name__ == "__main__":
    main()
