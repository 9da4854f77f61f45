"""Resamples are fixed and stratified, and ranks are shared by what cannot be told apart."""

import numpy as np
import pytest

from reports.numbers import metrics
from reports.numbers.statistics import bootstrap, comparisons, intervals
from reports.numbers.statistics.comparisons import RowOutcomes


def test_half_widths_of_the_spec():
    interval = intervals.wilson(200, 500)
    assert 100 * (interval.high - interval.low) / 2 == pytest.approx(4.3, abs=0.05)


def test_no_sample_and_one_seed_have_no_interval():
    assert np.isnan(intervals.wilson(0, 0).low)
    assert np.isnan(intervals.t_interval([0.5]).low)
    assert np.isnan(intervals.t_interval([0.5, 0.4, float("nan")]).low)


def test_what_was_not_compared_does_not_count():
    adjusted = comparisons.holm([0.01, float("nan"), 0.04])
    assert adjusted[0] == pytest.approx(0.02)
    assert np.isnan(adjusted[1])
    assert adjusted[2] == pytest.approx(0.04)


def test_resamples_are_fixed_and_keep_the_size_of_a_task():
    bootstrap.resample_counts.cache_clear()
    first = bootstrap.resample_counts(30, 1, 50).copy()
    bootstrap.resample_counts.cache_clear()
    assert np.array_equal(first, bootstrap.resample_counts(30, 1, 50))
    assert (first.sum(1) == 30).all()
    assert not np.array_equal(first, bootstrap.resample_counts(30, 2, 50))


def correct_cells(rng, T, n, p):
    return {(i, j): (rng.random(n) < p).astype(np.int8) for i in range(T) for j in range(i + 1)}


def test_bootstrap_of_acc_has_the_binomial_standard_error():
    rng = np.random.default_rng(1)
    cells = correct_cells(rng, 4, 200, 0.6)
    draws = metrics.acc(bootstrap.bootstrap_matrices({"a": cells}, 4)["a"])
    shares = [cells[3, j].mean() for j in range(4)]
    expected = np.sqrt(sum(p * (1 - p) / 200 for p in shares)) / 4
    assert draws.std() == pytest.approx(expected, rel=0.06)
    assert draws.mean() == pytest.approx(np.mean(shares), abs=0.002)


def test_one_resample_serves_all_cells_and_attacks():
    rng = np.random.default_rng(2)
    cells = correct_cells(rng, 3, 50, 0.5)
    same = {cell: cells[2, cell[1]] for cell in cells}
    drawn = bootstrap.bootstrap_matrices({"a": same, "b": same}, 3)
    # Equal outcomes in every row of R: forgetting is zero in every draw, not only on average.
    assert np.abs(metrics.forgetting(drawn["a"])).max() == 0
    assert np.array_equal(drawn["a"], drawn["b"], equal_nan=True)


def test_samples_that_were_not_measured_do_not_count():
    right = np.array([1, 1, 1, 0] * 10 + [-1] * 60, np.int8)
    draws = bootstrap.resampled_accuracies(right[None], 0)[:, 0]
    assert draws.mean() == pytest.approx(0.75, abs=0.01)
    assert draws.std() == pytest.approx(np.sqrt(0.75 * 0.25 / 40), rel=0.08)


def test_a_few_measured_samples_among_many_still_give_every_draw():
    right = np.array([1, 0] + [-1] * 500, np.int8)
    assert np.isfinite(bootstrap.resampled_accuracies(right[None], 0)).all()


def test_seeds_widen_the_hierarchical_interval():
    rng = np.random.default_rng(4)
    near = [0.5 + rng.normal(0, 0.01, 2000) for _ in range(2)]
    far = [near[0] - 0.1, near[1] + 0.1]
    narrow, wide = (intervals.percentile_interval(bootstrap.hierarchical(draws)) for draws in (near, far))
    assert wide.high - wide.low > 5 * (narrow.high - narrow.low)


def test_the_kind_of_interval_follows_the_number_of_seeds():
    assert intervals.interval_kind(1) == "test-set noise only"
    assert "hierarchical" in intervals.interval_kind(2)
    assert intervals.interval_kind(3) == "t-interval over 3 seeds"
    three = intervals.interval([0.1, 0.2, 0.3], lambda: pytest.fail("three seeds need no bootstrap"))
    assert three == intervals.t_interval([0.1, 0.2, 0.3])


def scored(label, p, seeds=(0,), n=300, tasks=2):
    rng = np.random.default_rng(5)
    difficulty = rng.random((tasks, n))
    noise = {seed: np.random.default_rng([seed, *label.encode()]).normal(0, 0.03, (tasks, n)) for seed in seeds}
    ids = [np.arange(n)] * tasks
    return RowOutcomes(
        label, dict.fromkeys(seeds, ids), {s: [difficulty[t] + noise[s][t] < p for t in range(tasks)] for s in seeds}
    )


@pytest.mark.parametrize(
    ("seeds", "test"),
    [
        ((0,), "McNemar, exact"),
        ((0, 1), "hierarchical bootstrap"),
        ((0, 1, 2), "paired t over 3 seeds, and hierarchical bootstrap"),
    ],
)
def test_what_differs_is_told_apart_and_what_does_not_shares_a_rank(seeds, test):
    rows = [scored("good", 0.8, seeds), scored("twin", 0.8, seeds), scored("bad", 0.5, seeds)]
    pairs = comparisons.compare_all(rows)
    assert all(pair.test.startswith(test) for pair in pairs)
    assert comparisons.ranks(["good", "twin", "bad"], pairs) == {"good": 1, "twin": 1, "bad": 3}
    for pair in pairs:
        assert pair.low <= pair.difference <= pair.high
        assert pair.p_holm >= pair.p


def test_only_common_seeds_and_samples_are_compared():
    one, other = scored("one", 0.8, (0, 1)), scored("other", 0.6, (1, 2))
    half = RowOutcomes(
        "half", {1: [ids[::2] for ids in other.samples[1]]}, {1: [right[::2] for right in other.correct[1]]}
    )
    assert comparisons.compare(one, other).seeds == 1
    assert comparisons.compare(one, half).samples == 300
    nothing = comparisons.compare(scored("one", 0.8, (0,)), scored("other", 0.1, (7,)))
    assert np.isnan(nothing.p)
    assert nothing.better is None


def test_what_rests_on_a_few_images_is_not_told_apart_however_many_seeds_repeat_it():
    right = np.ones(300, bool)
    wrong = right.copy()
    wrong[:3] = False
    seeds, ids = (0, 1, 2), [np.arange(300)]
    one, other = (
        RowOutcomes(label, dict.fromkeys(seeds, ids), {s: [cells] for s in seeds})
        for label, cells in (("one", right), ("other", wrong))
    )
    pair = comparisons.compare(one, other)
    assert pair.difference == pytest.approx(0.01)
    assert pair.bootstrap_low == 0 < pair.difference < pair.bootstrap_high
    # The seeds say the same, so their t-interval has no width; that of the images counts.
    assert (pair.low, pair.high) == (pair.bootstrap_low, pair.bootstrap_high)
    assert 0.05 < pair.p < 0.2
    assert pair.better is None


def test_an_interval_excludes_zero_only_if_both_tests_reject_it():
    rng = np.random.default_rng(1)
    seeds, ids = (0, 1, 2), [np.arange(200)]
    for gain in np.linspace(0, 0.12, 25):
        one, other = (
            RowOutcomes(label, dict.fromkeys(seeds, ids), {s: [rng.random(200) < 0.5 + more] for s in seeds})
            for label, more in (("one", gain), ("other", 0))
        )
        pair = comparisons.compare(one, other)
        assert pair.low <= pair.bootstrap_low <= pair.bootstrap_high <= pair.high
        if abs(pair.p - 0.05) > 0.005:
            assert (pair.low > 0 or pair.high < 0) == (pair.p < 0.05), pair


def test_the_last_row_alone_has_the_draws_that_it_has_in_the_whole_matrix():
    rng = np.random.default_rng(6)
    cells = {
        name: {(i, j): rng.integers(0, 2, 50).astype(np.int8) for i in range(3) for j in range(i + 1)} for name in "ab"
    }
    whole = bootstrap.bootstrap_matrices(cells, 3)
    part = bootstrap.bootstrap_matrices(cells, 3, last_row={"b"})
    np.testing.assert_array_equal(part["a"], whole["a"])
    np.testing.assert_array_equal(part["b"], whole["b"][:, -1:])
