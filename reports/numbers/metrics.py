"""Continual-learning metrics as pure functions of accuracy matrices and predictions.

R[i, j] is the accuracy on task j after learning task i, NaN where it is not stored. Tasks count from 0; the formulas below
count from 1. All functions of R take (..., T, T), so a bootstrap is one more leading axis. They give NaN ("n/a") if a cell that
they need is missing, such as the upper rows of a method that learns all tasks at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import nan

import numpy as np
from numpy.typing import NDArray

from reports.numbers.outcomes import NOT_MEASURED, Final, OutcomeCell, Outcomes

Array = NDArray[np.float64]
WORST = "worst"
CLEAN = "clean"


def accuracy(correct: np.ndarray) -> float:
    """The share of right outcomes, from a vector of 1, 0 and -1 (not covered); NaN if none is covered."""
    covered = correct != NOT_MEASURED
    return float(correct[covered].mean()) if covered.any() else nan


def accuracy_matrix(outcomes: Outcomes, attack: str) -> Array:
    """R (T, T) of one attack."""
    R = np.full((outcomes.tasks, outcomes.tasks), np.nan)
    for (i, j), (right, covered) in outcomes.counts(attack).items():
        R[i, j] = right / covered if covered else np.nan
    return R


def acc(R: Array) -> Array:
    """ACC = (1/T) Σ_j R[T, j]. Lopez-Paz & Ranzato 2017."""
    return R[..., -1, :].mean(-1)


def bwt(R: Array) -> Array:
    """BWT = 1/(T-1) Σ_{i<T} (R[T, i] − R[i, i]). Lopez-Paz & Ranzato 2017. NaN for one task."""
    if R.shape[-1] < 2:
        return np.full(R.shape[:-2], np.nan)
    return (R[..., -1, :-1] - _diagonal(R)[..., :-1]).mean(-1)


def forgetting(R: Array) -> Array:
    """F = 1/(k-1) Σ_{j<k} (max_{j≤l<k} R[l, j] − R[k, j]), k = T; may be negative. Chaudhry et al. 2018, eq. 3."""
    T = R.shape[-1]
    if T < 2:
        return np.full(R.shape[:-2], np.nan)
    # Only l ≥ j counts: accuracies above the diagonal (zero-shot) must not be taken for the best.
    earlier = np.where(np.tri(T, dtype=bool), R, -np.inf)[..., :-1, :-1]
    return (earlier.max(-2) - R[..., -1, :-1]).mean(-1)


def lower_triangle_mean(R: Array) -> Array:
    """A = mean of R[i, j] over j ≤ i. Díaz-Rodríguez et al. 2018."""
    rows, columns = np.tril_indices(R.shape[-1])
    return R[..., rows, columns].mean(-1)


def average_incremental_accuracy(R: Array) -> Array:
    """AIA = (1/T) Σ_t mean_{j≤t} R[t, j]. Usage of iCaRL, Rebuffi et al. 2017."""
    return np.stack([R[..., t, : t + 1].mean(-1) for t in range(R.shape[-1])], -1).mean(-1)


def gap(R_clean: Array, R_attack: Array) -> Array:
    """The mean over tasks of R_clean[T, j] − R_attack[T, j]: accuracy lost to the attack after the last task."""
    return (R_clean - R_attack)[..., -1, :].mean(-1)


def excess_forgetting(R_clean: Array, R_attack: Array) -> Array:
    """F of the robust matrix − F of the clean matrix: robustness forgotten beyond accuracy."""
    return forgetting(R_attack) - forgetting(R_clean)


def intransigence_joint(R: Array, R_joint: Array) -> Array:
    """I = R*[T, T] − R[T, T], R* trained on all tasks jointly (k = T only). Chaudhry et al. 2018."""
    return R_joint[..., -1, -1] - R[..., -1, -1]


def intransigence_single_task(R: Array, R_single: Array) -> Array:
    """The mean over k of R*[k] − R[k, k], R*[k] of a network adversarially trained on task k alone.

    R*[k] is the diagonal of the reference's matrix, or its last row where only that is stored, because a single-task
    network does not change after its task.
    """
    diagonal = _diagonal(R_single)
    return (np.where(np.isnan(diagonal), R_single[..., -1, :], diagonal) - _diagonal(R)).mean(-1)


def _diagonal(R: Array) -> Array:
    return np.diagonal(R, axis1=-2, axis2=-1)


def optimality(eps: Array, curve: Array, best: Array, clean: float) -> float:
    """1 − (A − A*) / (clean · e − A*), A and A* the areas below `curve` and `best` from 0 to e, the largest eps.

    1 for an attack that breaks at every eps what any attack breaks, 0 for one that breaks nothing. The areas are those of
    straight lines between the points, the first (0, clean). NaN where nothing was broken at all. Local optimality of AttackBench
    (Cinà et al. 2024, arXiv 2404.19460); there e is where the best attack reaches 0, and a curve has a point per distance.

    eps: (K,), ascending, above 0. curve: accuracies (K,) under one attack at these eps. best: under the worst of all attacks.
    clean: accuracy without an attack.
    """
    places = np.concatenate([[0.0], eps])

    def area(accuracies: Array) -> float:
        return float(np.trapezoid(np.concatenate([[clean], accuracies]), places))

    lost = clean * float(places[-1]) - area(best)
    # A single image of any data set is more than this.
    return nan if lost <= 1e-12 * float(places[-1]) else 1 - (area(curve) - area(best)) / lost


MATRIX_METRICS = {
    "BWT_lopezpaz2017": bwt,
    "F_chaudhry2018": forgetting,
    "A_diazrodriguez2018": lower_triangle_mean,
    "AIA_rebuffi2017": average_incremental_accuracy,
}
"""By column name the metrics of one matrix that need its upper rows. `ACC_lopezpaz2017` needs only the last row."""


def macro_scores(labels: np.ndarray, predicted: np.ndarray) -> tuple[float, float, float]:
    """Macro precision, recall and F1 of one task, from its labels and predictions (n,). See `macro_scores_by_task`."""
    precision, recall, f1 = macro_scores_by_task(labels, predicted, np.zeros(len(labels), np.int64), 1)[0]
    return float(precision), float(recall), float(f1)


def macro_scores_by_task(labels: np.ndarray, predicted: np.ndarray, task: np.ndarray, tasks: int) -> Array:
    """Macro precision, recall and F1 (columns) of every task (rows): (tasks, 3) from vectors (n,) of all samples.

    They are over all covered samples (predicted >= 0) of a task, and equal scikit-learn's
    `precision_recall_fscore_support(average="macro", zero_division=0)` with `labels` = the classes that occur as label or
    prediction. NaN if a task has no covered sample.
    """
    covered = predicted >= 0
    task, labels, predicted = (each[covered].astype(np.int64) for each in (task, labels, predicted))
    classes = 1 + int(max(labels.max(initial=0), predicted.max(initial=0)))
    places = (task * classes + labels) * classes + predicted
    confusion = np.bincount(places, minlength=tasks * classes**2).reshape(tasks, classes, classes)
    hits, support, claimed = np.diagonal(confusion, axis1=1, axis2=2), confusion.sum(2), confusion.sum(1)
    occurs = (support + claimed) > 0
    # A class that was never claimed, or never there, has a numerator of 0 as well.
    scores = hits / np.maximum(claimed, 1), hits / np.maximum(support, 1), 2 * hits / np.maximum(support + claimed, 1)
    with np.errstate(invalid="ignore"):
        return np.stack([score.sum(1) / occurs.sum(1) for score in scores], 1)


def task_scores(outcomes: Outcomes, attack: str) -> Array:
    """Macro precision, recall and F1 (columns) of every task (rows) after the last task: (T, 3); NaN: not covered.

    Where one head answers among all classes, an image of one task counts against the precision of another task's class too: the
    scores of each class are over the images of all tasks, and a task's are the mean over its classes.
    """
    final = sorted(outcomes.final.get(attack, {}).items())
    if not final:
        return np.full((outcomes.tasks, 3), np.nan)
    task = np.repeat([j for j, _ in final], [len(outcomes.labels[j]) for j, _ in final])
    labels = np.concatenate([outcomes.labels[j] for j, _ in final])
    predicted = np.concatenate([each.predicted for _, each in final])
    if outcomes.one_head:
        return _scores_among_all(labels, predicted, task, outcomes.tasks)
    return macro_scores_by_task(labels, predicted, task, outcomes.tasks)


def _scores_among_all(labels: np.ndarray, predicted: np.ndarray, task: np.ndarray, tasks: int) -> Array:
    """As `macro_scores_by_task`, of tasks whose classes are told apart by one head; labels are of all classes."""
    covered = predicted >= 0
    task, labels, predicted = (each[covered].astype(np.int64) for each in (task, labels, predicted))
    found = np.full((tasks, 3), np.nan)
    for j in np.unique(task):
        per_class = []
        for label in np.unique(labels[task == j]):
            is_it, is_claimed = labels == label, predicted == label
            hits, support, claimed = (int(np.count_nonzero(each)) for each in (is_it & is_claimed, is_it, is_claimed))
            per_class.append([hits / max(claimed, 1), hits / support, 2 * hits / (support + claimed)])
        found[j] = np.mean(per_class, 0)
    return found


def add_worst(outcomes: Outcomes, attacks: Iterable[str], name: str = WORST) -> Outcomes:
    """Add the attack `name` after the last task: a sample is right if it is right under every one of `attacks`.

    Only samples that every attack covers count. Predicted class and margin are those of the attack with the smallest
    margin; if a wrong and a right one tie, those of the wrong one.

    attacks: names with stored outcomes.
    """
    attacks = sorted(attacks)
    correct: dict[OutcomeCell, np.ndarray] = {}
    final: dict[int, Final] = {}
    for j in range(outcomes.tasks):
        cells = [outcomes.vector(attack, outcomes.last, j) for attack in attacks]
        if not cells or not len(outcomes.samples[j]):
            continue
        stacked = np.stack(cells)
        covered = (stacked != NOT_MEASURED).all(0)
        if not covered.any():
            continue
        survives = stacked.min(0) == 1
        correct[outcomes.last, j] = np.where(covered, survives, NOT_MEASURED).astype(np.int8)
        margin = np.stack([outcomes.final[attack][j].margin for attack in attacks])
        margin = np.where(np.isnan(margin), -np.inf, margin)
        # If an attack succeeds, the class is that of a successful one, even if margins tie at zero.
        candidates = np.where(~survives & (stacked == 1), np.inf, margin)
        which = candidates.argmin(0)[None]
        predicted = np.take_along_axis(np.stack([outcomes.final[a][j].predicted for a in attacks]), which, 0)[0]
        smallest = np.take_along_axis(margin, which, 0)[0]
        final[j] = Final(
            np.where(covered, predicted, -1).astype(np.int16), np.where(covered, smallest, np.nan).astype(np.float32)
        )
    return outcomes.with_attack(name, correct, final)
