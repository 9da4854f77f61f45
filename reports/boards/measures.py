"""The numbers of a row: every metric under its column name, and intervals for those with a noise worth knowing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from math import nan

import numpy as np

from reports.boards.board import Measures, Seed
from reports.numbers import metrics
from reports.numbers.capacity import decisions
from reports.numbers.evidence import Evidence
from reports.numbers.metrics import CLEAN, MATRIX_METRICS, WORST, Array, accuracy_matrix
from reports.numbers.outcomes import Outcomes
from reports.numbers.statistics.bootstrap import bootstrap_matrices
from reports.numbers.statistics.intervals import interval, interval_kind
from results import schema
from results.schema import ANY

COMPARING = {*MATRIX_METRICS.values(), metrics.excess_forgetting}
"""Metrics that compare the cells of a task with each other."""

CAPACITY = {"width_multiplier": "mu", "free_capacity": "free_share"}
"""Costs that methods record which share one network's weights, by their name among the decisions of a task (`capacity`)."""

MEASURED_COSTS = (
    "parameters",
    "stored_mb",
    "peak_memory_mb",
    "evaluation_peak_memory_mb",
    "train_seconds",
    "train_gradient_evaluations",
    "prerequisite_seconds",
)
"""Costs that the harness measures."""

COST_COLUMNS = (*MEASURED_COSTS, *CAPACITY)


def measures_of(seeds: Sequence[Seed], joint: Mapping[int, Evidence], single: Mapping[int, Evidence]) -> Measures:
    """All metrics of a row, means over the given runs.

    joint, single: by seed, the references of intransigence.
    """
    evidences = [seed.evidence for seed in seeds]
    attacks = sorted(set().union(*(evidence.outcomes.correct for evidence in evidences)))
    R = {a: [accuracy_matrix(evidence.outcomes, a) for evidence in evidences] for a in attacks}
    matrix = {name for e in evidences for a in e.protocol.matrix for name in (a, a + ANY)}
    compared = [evidence.outcomes.on_same_images(matrix) for evidence in evidences]
    # The same where nothing had to be left out, as in every preset that attacks as many images at each turn.
    same = all(mine is evidence.outcomes for mine, evidence in zip(compared, evidences, strict=True))
    R_compared = R if same else {a: [accuracy_matrix(outcomes, a) for outcomes in compared] for a in attacks}
    result = Measures(seeds=len(seeds), interval=interval_kind(len(seeds)))
    result.matrices = {attack: np.mean(matrices, 0) for attack, matrices in R.items()}
    draw = _drawer([evidence.outcomes for evidence in evidences], set(attacks) - matrix)
    draw_compared = draw if same else _drawer(compared, set(attacks) - matrix)

    def add(column: str, of: Callable[..., Array], *names: str, with_interval: bool = True) -> None:
        """Add the metric `of` the matrices of `names`: its mean over seeds, and its interval."""
        found, drawn = (R_compared, draw_compared) if of in COMPARING else (R, draw)
        values = [float(of(*(found[name][k] for name in names))) for k in range(len(evidences))]
        result.values[column] = float(np.mean(values))
        if with_interval:
            result.intervals[column] = interval(
                values, lambda: [of(*(drawn(k)[name] for name in names)) for k in range(len(evidences))]
            )

    for attack in attacks:
        add(f"ACC_lopezpaz2017 {attack}", metrics.acc, attack)
        if attack in matrix:
            for column, of in MATRIX_METRICS.items():
                add(f"{column} {attack}", of, attack)
        if attack != CLEAN and CLEAN in R:
            add(f"gap {attack}", metrics.gap, CLEAN, attack, with_interval=False)
            if attack in matrix:
                add(f"excess_F {attack}", metrics.excess_forgetting, CLEAN, attack)
        _add_scores(result, evidences, attack)
        _add_references(result, evidences, attack, R[attack], joint, single)
    result.values[f"samples {WORST}"] = float(min(evidence.outcomes.covered(WORST) for evidence in evidences))
    result.values |= {cost: _cost(evidences, cost) for cost in MEASURED_COSTS} | _capacity(evidences)
    return result


def _drawer(outcomes: Sequence[Outcomes], last_row: Collection[str]) -> Callable[[int], dict[str, Array]]:
    """The bootstrap matrices of the k-th run, made when first asked for; of the attacks in `last_row` only that row."""

    @cache
    def draw(k: int) -> dict[str, Array]:
        return bootstrap_matrices(outcomes[k].correct, outcomes[k].tasks, last_row=last_row)

    return draw


def _add_scores(result: Measures, evidences: Sequence[Evidence], attack: str) -> None:
    scores = np.mean([metrics.task_scores(evidence.outcomes, attack) for evidence in evidences], 0).mean(0)
    for name, value in zip(("precision", "recall", "F1"), scores, strict=True):
        result.values[f"macro_{name} {attack}"] = float(value)


def _add_references(
    result: Measures,
    evidences: Sequence[Evidence],
    attack: str,
    R: Sequence[Array],
    joint: Mapping[int, Evidence],
    single: Mapping[int, Evidence],
) -> None:
    """Add intransigence against references of the same seeds; NaN unless every seed has its reference."""
    for column, of, references in (
        ("I_joint", metrics.intransigence_joint, joint),
        ("I_single_task", metrics.intransigence_single_task, single),
    ):
        found = [references.get(evidence.run.seed) for evidence in evidences]
        values = [
            nan
            if reference is None or reference.outcomes.tasks != len(mine)
            else float(of(mine, accuracy_matrix(reference.outcomes, attack)))
            for reference, mine in zip(found, R, strict=True)
        ]
        result.values[f"{column} {attack}"] = float(np.mean(values))


def _capacity(evidences: Sequence[Evidence]) -> dict[str, float]:
    """The capacity after the last task, means over seeds; NaN where a method records none."""
    found = [decisions(evidence.facts) for evidence in evidences]
    last = [each.iloc[-1] if len(each) else dict.fromkeys(CAPACITY.values(), nan) for each in found]
    return {cost: float(np.mean([values[name] for values in last])) for cost, name in CAPACITY.items()}


def _cost(evidences: Sequence[Evidence], name: str) -> float:
    """The mean over seeds of a cost of the whole run; NaN if a run did not record it."""
    values = []
    for evidence in evidences:
        facts = evidence.facts
        found = facts.loc[(facts["task"] == -1) & (facts["phase"] == schema.COSTS) & (facts["name"] == name), "value"]
        values.append(float(found.iloc[-1]) if len(found) else nan)
    return float(np.mean(values))
