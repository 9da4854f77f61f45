"""The comparison of `tune`: differences are paired, ties go to the preset, means are over the same rows."""

from __future__ import annotations

import numpy as np
import pytest

from reports.tuning.files import short_names
from reports.tuning.tuned import TunedRow, trials_of, tuning_table

RATE, EPOCHS = "recipe.learning_rate", "methods.b.retrain_epochs"
N = 400


def outcomes(right: float, seeds: int = 1) -> dict[int, list[np.ndarray]]:
    """Two tasks of N images, of which the first ones are right."""
    return {seed: [np.arange(N) < right * N] * 2 for seed in range(seeds)}


def row(label: str, rate: str, right: float, *, own: bool = False, seeds: int = 1) -> TunedRow:
    """A row at a point of a grid of learning rates. rate: empty for the preset's own, which is no point of it."""
    points = (((RATE, rate),),) if rate else ()
    return TunedRow(label, points, (RATE,), own, outcomes(right, seeds), outcomes(min(1.0, right + 0.1), seeds))


def unvaried(label: str, right: float) -> TunedRow:
    points = tuple(((RATE, rate),) for rate in ("0.1", "0.2", "0.4"))
    return TunedRow(label, points, (), True, outcomes(right), outcomes(right))


def test_differences_are_paired() -> None:
    low, own = trials_of([row("a", "0.1", 0.45), row("a", "0.2", 0.5, own=True)])
    assert low.above == pytest.approx(-0.05)
    assert own.above == own.above_bounds.low == own.above_bounds.high == 0
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
        unvaried("fixed", 0.9),
    ]
    mean = [trial for trial in trials_of(rows) if trial.label == "mean of 2 rows"]
    assert [(dict(trial.values)[RATE], trial.robust) for trial in mean] == [
        ("0.1", pytest.approx(0.3)),
        ("0.2", pytest.approx(0.4)),
    ]
    assert [trial.own for trial in mean] == [False, True]
    assert mean[0].above == pytest.approx(-0.1)
    assert mean[1].above == 0


def test_a_row_that_failed_everywhere_else_counts_in_the_mean() -> None:
    """The mean is of the rows that are tuned, not of those that happened to be learned."""
    rows = [row("a", "0.1", 0.2), row("a", "0.2", 0.4, own=True), row("b", "0.2", 0.9, own=True)]
    mean = [trial for trial in trials_of(rows) if trial.label == "mean of 2 rows"]
    assert [(trial.own, trial.robust) for trial in mean] == [(True, pytest.approx(0.65))]


def test_a_key_of_one_row_leaves_the_others_and_the_mean_whole() -> None:
    """`a` knows nothing of the key of `b`, so it is the same at two points each."""
    points = {(rate, epochs): ((RATE, rate), (EPOCHS, epochs)) for rate in ("0.1", "0.2") for epochs in ("6", "3")}
    rows = [
        TunedRow("a", (points[rate, "6"], points[rate, "3"]), (RATE,), rate == "0.2", outcomes(right), outcomes(right))
        for rate, right in (("0.1", 0.2), ("0.2", 0.4))
    ]
    rows += [
        TunedRow("b", (point,), (RATE, EPOCHS), key == ("0.2", "3"), outcomes(0.5), outcomes(0.5))
        for key, point in points.items()
    ]
    trials = trials_of(rows)
    assert [trial.values for trial in trials if trial.label == "a"] == [((RATE, "0.1"),), ((RATE, "0.2"),)]
    mean = [trial for trial in trials if trial.label == "mean of 2 rows"]
    assert {trial.values for trial in mean} == set(points.values())
    assert [trial.values for trial in mean if trial.own] == [points["0.2", "3"]]
    table = tuning_table(trials, tasks=2)
    assert list(table.loc[table["label"] == "a", EPOCHS]) == ["", ""]


def test_one_row_has_no_mean_of_rows() -> None:
    rows = [row("a", "0.1", 0.5), row("a", "0.2", 0.5, own=True), unvaried("fixed", 0.9)]
    assert {trial.label for trial in trials_of(rows)} == {"a", "fixed"}


def test_the_table_says_of_what_it_is_and_what_an_interval_is() -> None:
    table = tuning_table(trials_of([row("a", "0.1", 0.5, seeds=3), row("a", "", 0.4, own=True, seeds=3)]), tasks=2)
    assert list(table[RATE]) == ["0.1", "preset"]
    assert list(table["interval"]) == ["t-interval over 3 seeds"] * 2
    assert list(table["seeds"]) == [3, 3]
    assert list(table["tasks"]) == [2, 2]
    one = tuning_table(trials_of([row("a", "0.1", 0.5, own=True)]), tasks=2)
    assert list(one["interval"]) == ["noise of the validation images only"]


def test_columns_are_named_by_what_tells_them_apart() -> None:
    assert short_names(["recipe.learning_rate", "recipe.epochs"]) == ["learning_rate", "epochs"]
    assert short_names(["methods.a.epochs", "methods.b.epochs"]) == ["a.epochs", "b.epochs"]
    assert short_names(["recipe.epochs", "methods.a.recipe.epochs"]) == ["recipe.epochs", "a.recipe.epochs"]
    assert short_names([]) == []
