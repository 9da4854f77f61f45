"""The comparison of `tune`: differences are paired, ties go to the preset, means are over the same rows."""

from __future__ import annotations

import numpy as np
import pytest

from reports.tuning.tuned import ALL_ROWS, TunedRow, trials_of, tuning_table

RATE = "recipe.learning_rate"
N = 400


def outcomes(right: float, seeds: int = 1) -> dict[int, list[np.ndarray]]:
    """Two tasks of N images, of which the first ones are right."""
    return {seed: [np.arange(N) < right * N] * 2 for seed in range(seeds)}


def row(label: str, rate: str, right: float, *, own: bool = False, seeds: int = 1) -> TunedRow:
    values = ((RATE, rate),) if rate else ()
    return TunedRow(label, values, own, outcomes(right, seeds), outcomes(min(1.0, right + 0.1), seeds))


def test_differences_are_paired() -> None:
    low, own = trials_of([row("a", "0.1", 0.45), row("a", "0.2", 0.5, own=True)])
    assert low.above == pytest.approx(-0.05)
    assert own.above == 0
    # The images that are right at 0.1 are right at 0.2 too: the difference knows better than either accuracy.
    assert low.above_bounds.high < 0
    assert low.above_bounds.high - low.above_bounds.low < low.bounds.high - low.bounds.low
    assert (low.robust, low.clean) == pytest.approx((0.45, 0.5525))
    assert (low.images, low.seeds) == (2 * N, 1)


def test_of_equal_points_the_preset_is_best() -> None:
    assert [trial.best for trial in trials_of([row("a", "0.1", 0.5), row("a", "0.2", 0.5, own=True)])] == [False, True]
    assert [trial.best for trial in trials_of([row("a", "0.1", 0.5), row("a", "0.2", 0.4, own=True)])] == [True, False]


def test_the_mean_is_over_rows_that_the_grid_varies_at_points_that_all_have() -> None:
    rows = [
        *(row("a", rate, right, own=rate == "0.2") for rate, right in (("0.1", 0.2), ("0.2", 0.4), ("0.4", 0.9))),
        # Failed at 0.4.
        *(row("b", rate, right, own=rate == "0.2") for rate, right in (("0.1", 0.4), ("0.2", 0.4))),
        row("fixed", "", 0.9, own=True),
    ]
    mean = [trial for trial in trials_of(rows) if trial.label == ALL_ROWS]
    assert [(dict(trial.values)[RATE], trial.robust) for trial in mean] == [
        ("0.1", pytest.approx(0.3)),
        ("0.2", pytest.approx(0.4)),
    ]
    assert [trial.own for trial in mean] == [False, True]
    assert mean[0].above == pytest.approx(-0.1)


def test_one_row_has_no_mean_of_rows() -> None:
    rows = [row("a", "0.1", 0.5), row("a", "0.2", 0.5, own=True), row("fixed", "", 0.9, own=True)]
    assert {trial.label for trial in trials_of(rows)} == {"a", "fixed"}


def test_the_table_says_what_an_interval_is() -> None:
    table = tuning_table(trials_of([row("a", "0.1", 0.5, seeds=3), row("a", "", 0.4, own=True, seeds=3)]))
    assert list(table[RATE]) == ["0.1", "as the preset"]
    assert list(table["interval"]) == ["t-interval over 3 seeds"] * 2
    assert list(table["seeds"]) == [3, 3]
