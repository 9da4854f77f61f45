"""The bootstrap over test samples, stratified by task, and over seeds.

Resamples are drawn from one fixed seed per task. They are the same for every cell, method and seed, so differences are paired.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache

import numpy as np

from reports.numbers.metrics import Array
from reports.numbers.outcomes import NOT_MEASURED, OutcomeCell

RESAMPLES = 2000
SEED = 20_240_229
_DRAWS_AT_ONCE = 4_000_000


@lru_cache(maxsize=64)
def resample_counts(n: int, task: int, resamples: int = RESAMPLES) -> np.ndarray:
    """The number of times that each of a task's n test samples is drawn: uint8 (resamples, n), every row sums to n."""
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

    Samples that no cell covers are not drawn. The accuracy of a cell that covers only some is over those that are drawn.
    """
    correct = correct[:, (correct != NOT_MEASURED).any(0)]
    n = correct.shape[1]
    if n == 0:
        return np.full((resamples, len(correct)), np.nan)
    counts = resample_counts(n, task, resamples).astype(np.float32)
    hits = counts @ (correct == 1).T.astype(np.float32)
    if (correct != NOT_MEASURED).all():
        return hits.astype(float) / n
    covered = counts @ (correct != NOT_MEASURED).T.astype(np.float32)
    with np.errstate(invalid="ignore"):
        return hits.astype(float) / covered


def bootstrap_matrices(
    cells: Mapping[str, Mapping[OutcomeCell, np.ndarray]],
    tasks: int,
    resamples: int = RESAMPLES,
    last_row: Collection[str] = (),
) -> dict[str, Array]:
    """R of every attack in every resample: (resamples, T, T) each.

    last_row: attacks of which only the last row is wanted, (resamples, 1, T). Whole matrices of a hundred attacks over
        twenty tasks would take a gigabyte.

    All cells of all attacks share the resamples of a task, so any function of the matrices may be taken draw by draw:
    differences between attacks too.
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
    """The hierarchical bootstrap, (resamples,): seeds are drawn, then samples within tasks.

    draws: per seed the metric in each resample, (resamples,). The seeds are attacked on the same test samples, so they
        share the resamples; the result is the mean over the drawn seeds.
    """
    stacked = np.stack(draws, 1)
    return (seed_weights(stacked.shape[1], len(stacked)) * stacked).sum(1)
