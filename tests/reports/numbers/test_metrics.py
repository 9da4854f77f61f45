"""Metrics are the published formulas, and `worst` is per sample."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import precision_recall_fscore_support

from reports.numbers import metrics
from reports.numbers.outcomes import outcomes_of

NAN = float("nan")
WORKED = np.array([[0.70, NAN, NAN, NAN], [0.80, 0.75, NAN, NAN], [0.75, 0.70, 0.60, NAN], [0.78, 0.82, 0.60, 0.90]])


def test_the_worked_example():
    assert metrics.acc(WORKED) == pytest.approx(0.775)
    assert metrics.lower_triangle_mean(WORKED) == pytest.approx(0.740)
    assert metrics.average_incremental_accuracy(WORKED) == pytest.approx(0.733, abs=5e-4)
    assert metrics.bwt(WORKED) == pytest.approx(0.05)
    assert metrics.forgetting(WORKED) == pytest.approx(-1 / 60)


def test_optimality_is_one_minus_the_area_to_the_best_curve_over_what_the_best_takes():
    eps, best = np.array([1.0, 3.0]), np.array([0.5, 0.1])
    # From 0 to 3 at .9 the area is 2.7; below the best it is (.9 + .5) / 2 + .5 + .1 = 1.3.
    assert metrics.optimality(eps, best, best, 0.9) == 1
    assert metrics.optimality(eps, np.array([0.9, 0.9]), best, 0.9) == pytest.approx(0)
    assert metrics.optimality(eps, np.array([0.7, 0.3]), best, 0.9) == pytest.approx(
        1 - (0.8 + 1.0 - 1.3) / (2.7 - 1.3)
    )
    # With one eps the areas are as the accuracies there.
    assert metrics.optimality(np.array([8.0]), np.array([0.5]), np.array([0.4]), 0.9) == pytest.approx(0.4 / 0.5)
    assert np.isnan(metrics.optimality(eps, np.array([0.9, 0.9]), np.array([0.9, 0.9]), 0.9))


def test_accuracy_above_the_diagonal_is_not_forgotten():
    R = WORKED.copy()
    R[0, 1:] = 1.0
    assert metrics.forgetting(R) == pytest.approx(-1 / 60)
    assert metrics.lower_triangle_mean(R) == pytest.approx(0.740)


def test_only_the_last_row_gives_acc_and_nothing_else():
    R = np.full((3, 3), NAN)
    R[2] = [0.5, 0.6, 0.7]
    assert metrics.acc(R) == pytest.approx(0.6)
    for of in metrics.MATRIX_METRICS.values():
        assert np.isnan(of(R))
    assert np.isnan(metrics.intransigence_single_task(R, WORKED[:3, :3]))


def test_metrics_take_leading_axes():
    stacked = np.stack([WORKED, WORKED - 0.1])
    for of in (metrics.acc, *metrics.MATRIX_METRICS.values()):
        assert of(stacked) == pytest.approx([of(WORKED), of(WORKED - 0.1)])


def test_one_task_has_no_forgetting():
    assert np.isnan(metrics.forgetting(np.array([[0.5]])))
    assert np.isnan(metrics.bwt(np.array([[0.5]])))


def test_intransigence_and_gaps():
    reference = WORKED + 0.1
    assert metrics.intransigence_joint(WORKED, reference) == pytest.approx(0.1)
    assert metrics.intransigence_single_task(WORKED, reference) == pytest.approx(0.1)
    last_row_only = np.full((4, 4), NAN)
    last_row_only[-1] = np.diagonal(reference)
    assert metrics.intransigence_single_task(WORKED, last_row_only) == pytest.approx(0.1)
    assert metrics.gap(WORKED, WORKED - 0.2) == pytest.approx(0.2)
    robust = WORKED.copy()
    robust[-1, 0] -= 0.3
    assert metrics.excess_forgetting(WORKED, robust) == pytest.approx(0.1)


@pytest.mark.parametrize("seed", range(5))
def test_macro_scores_are_those_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    labels, predicted = rng.integers(0, 5, 60), rng.integers(0, 5 - seed % 3, 60)
    expected = precision_recall_fscore_support(labels, predicted, average="macro", zero_division=0)[:3]
    assert metrics.macro_scores(labels, predicted) == pytest.approx(expected)


def test_macro_scores_leave_out_what_was_not_measured():
    assert metrics.macro_scores(np.array([0, 1, 1]), np.array([0, 1, -1])) == (1.0, 1.0, 1.0)
    assert np.isnan(metrics.macro_scores(np.array([0]), np.array([-1]))).all()


def rows(attack, predicted, margins, labels=None, samples=None, after_task=0, task=0):
    n = len(predicted)
    labels = [0] * n if labels is None else labels
    return pd.DataFrame(
        {
            "after_task": after_task, "task": task, "sample": range(n) if samples is None else samples,
            "attack": attack, "label": labels, "predicted": predicted, "margin": np.float32(margins),
            "evaluation_id": "e",
        }
    )  # fmt: skip


def test_worst_is_per_sample_and_not_the_minimum_of_accuracies():
    frame = pd.concat([rows("a", [0, 1, 0], [1, -1, 2]), rows("b", [1, 0, 0], [-3, 1, 1])])
    worst = metrics.add_worst(outcomes_of(frame, 1), ["a", "b"])
    assert metrics.accuracy_matrix(worst, "a")[0, 0] == pytest.approx(2 / 3)
    assert metrics.accuracy_matrix(worst, metrics.WORST)[0, 0] == pytest.approx(1 / 3)


def test_worst_predicts_the_class_of_the_smallest_margin():
    frame = pd.concat([rows("a", [1, 0], [-1, 2]), rows("b", [2, 0], [-3, 1]), rows("c", [0, 0], [5, 0.5])])
    final = metrics.add_worst(outcomes_of(frame, 1), ["a", "b", "c"]).final[metrics.WORST][0]
    assert final.predicted.tolist() == [2, 0]
    assert final.margin.tolist() == [-3, 0.5]


def test_worst_at_a_tie_is_the_wrong_one():
    frame = pd.concat([rows("a", [0], [0.0]), rows("b", [1], [0.0])])
    worst = metrics.add_worst(outcomes_of(frame, 1), ["a", "b"])
    assert worst.final[metrics.WORST][0].predicted.tolist() == [1]
    assert metrics.accuracy_matrix(worst, metrics.WORST)[0, 0] == 0


def test_worst_counts_only_samples_that_every_attack_covers():
    frame = pd.concat([rows("a", [0, 0, 1], [1, 1, -1]), rows("b", [0, 1], [1, -1], samples=[0, 1])])
    worst = metrics.add_worst(outcomes_of(frame, 1), ["a", "b"])
    assert worst.correct[metrics.WORST][0, 0].tolist() == [1, 0, -1]
    assert worst.final[metrics.WORST][0].predicted.tolist() == [0, 1, -1]


def test_outcomes_do_not_depend_on_the_order_of_rows():
    rng = np.random.default_rng(0)
    parts = [
        rows(attack, rng.integers(0, 2, 7), rng.normal(size=7), rng.integers(0, 2, 7), after_task=i, task=j)
        for attack in ("a", "b")
        for i in range(3)
        for j in range(i + 1)
    ]
    frame = pd.concat(parts, ignore_index=True)
    one, other = outcomes_of(frame, 3), outcomes_of(frame.sample(frac=1, random_state=1), 3)
    for attack, cells in one.correct.items():
        for cell, right in cells.items():
            assert np.array_equal(right, other.correct[attack][cell])
    part = frame[(frame.attack == "b") & (frame.after_task == 2) & (frame.task == 1)]
    assert metrics.accuracy_matrix(one, "b")[2, 1] == pytest.approx((part.label == part.predicted).mean())


def test_no_rows_at_all():
    outcomes = outcomes_of(rows("a", [], []), 2)
    assert outcomes.attacks == []
    assert np.isnan(metrics.accuracy_matrix(outcomes, "a")).all()
