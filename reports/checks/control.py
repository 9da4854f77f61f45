"""The check by a control, `control_broken`: the same attacks on a network that nobody defended."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reports.checks.check import FAIL, PASS, WARN, Judgement, check, errors_of_mean, not_run
from reports.numbers.evidence import Evidence
from reports.numbers.metrics import WORST
from reports.numbers.outcomes import NOT_MEASURED

ABOVE_CONTROL = 0.2
"""Accuracy by which a row must be above the control, in [0, 1]."""


@check(
    question="Do these attacks break a network that nobody defended?",
    measures="`worst` of the undefended network per task (single_task_standard) of the same seed, against chance and against "
    "this row",
    threshold=f"the control at or below chance (two standard errors), and at least {100 * ABOVE_CONTROL:g} points below a row "
    "that is above chance; where chance is below that, the larger of chance and half of the row's accuracy is enough. If one of "
    "the two is missed it warns, if both are it fails; not_run without such a run",
    why="Attacks that leave an undefended network standing say nothing about a defended one. A row that is itself at chance "
    "claims nothing, and of many classes no row may have 20 points.",
    planted="made-up records of controls that stand",
    source="Carlini et al. 2019",
)
def control_broken(evidence: Evidence) -> Judgement:
    if evidence.control is None:
        return not_run("no undefended network per task was run under this protocol and seed")
    accuracy: dict[str, float] = {}
    for name, one in (("row", evidence), ("control", evidence.control)):
        cells = _worst_cells(one)
        if not cells:
            return not_run(f"the {name} has no accuracy over all attacks")
        accuracy[name] = float(np.mean([mean for mean, _ in cells]))
    chance, error = _chance(evidence, _worst_cells(evidence.control))
    row, control = accuracy["row"], accuracy["control"]
    found = f"control {100 * control:.1f} %, row {100 * row:.1f} %, chance {100 * chance:.1f} %"
    if row <= chance + error:
        return Judgement(PASS, found, "the row claims nothing above chance")
    stands, near = control > chance + error, row - control < min(ABOVE_CONTROL, max(chance, row / 2))
    told = f"the undefended network keeps {100 * control:.1f} % under the same attacks, this row {100 * row:.1f} %"
    if stands and near:
        return Judgement(FAIL, found, f"{told}: the attacks do not tell one from the other")
    if stands or near:
        return Judgement(WARN, found, told)
    return Judgement(PASS, found, "the same attacks break an undefended network")


def claims_something(evidence: Evidence) -> bool:
    """True if the row reports an accuracy above chance. A network that collapsed to one class stands under every attack."""
    cells = _worst_cells(evidence)
    if not cells:
        return True
    return float(np.mean([mean for mean, _ in cells])) > sum(_chance(evidence, cells))


def _chance(evidence: Evidence, cells: Sequence[tuple[float, int]]) -> tuple[float, float]:
    """The mean over tasks of chance, and two standard errors of such a mean over the samples of `cells`."""
    chances = [evidence.chance(task, WORST) for task in range(len(cells))]
    return float(np.mean(chances)), errors_of_mean(chances, [count for _, count in cells])


def _worst_cells(evidence: Evidence) -> list[tuple[float, int]]:
    """The accuracy and the number of samples under `worst` after the last task, per task; empty if a task has none."""
    found: list[tuple[float, int]] = []
    for task in range(evidence.outcomes.tasks):
        cell = evidence.outcomes.vector(WORST, evidence.outcomes.last, task)
        covered = cell[cell != NOT_MEASURED]
        if not len(covered):
            return []
        found.append((float((covered == 1).mean()), len(covered)))
    return found
