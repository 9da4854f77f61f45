"""Checks of the classifiers themselves: their contract, and a few forward passes on each.

The contract: `eval_mode`, `head_sliced` and `outputs_are_logits`. The forward passes: `repeatable` and `batch_independent`.

The benchmark holds every classifier to the contract before it attacks it. The forward passes are stored as facts of the phase
`PROBES`.
"""

from __future__ import annotations

import json

import numpy as np
import pandas as pd

from reports.checks.check import FAIL, NOT_RECORDED_YET, PASS, WARN, Judgement, Sample, check, named, not_run
from reports.numbers.completeness import describe_failure, standing_failures
from reports.numbers.evidence import Evidence
from results.schema import PROBES, SAFE_MARGIN

# Differences of logits, in units of the largest logit.
SAME = 1e-6
CLOSE, APART = 1e-4, 1e-2


# -- the contract -----------------------------------------------------------------------------------------------------


def _contract(evidence: Evidence, name: str, words: str) -> Judgement:
    """Judge one condition of the contract. name: of the check, as failures record it; words: the reason to pass."""
    broken = [entry for entry in standing_failures(evidence) if entry.get("check") == name]
    if broken:
        task = broken[-1].get("task")
        return Judgement(FAIL, f"{len(broken)} refusals", f"task {task}: {broken[-1].get('message')}")
    if evidence.evaluations.empty:
        return not_run("nothing was evaluated")
    return Judgement(PASS, f"{len(evidence.evaluations)} evaluations", words)


@check(
    question="Was the network in eval mode and frozen?",
    measures="classifiers that were refused because a submodule was in train mode or a parameter took gradients",
    threshold="none",
    why="In train mode batch norm looks at the other images of the batch, so an image's answer is no longer its own.",
    planted="batch norm left in train mode, in every module and in a single one",
    source="Tramèr et al. 2020",
)
def eval_mode(evidence: Evidence) -> Judgement:
    return _contract(evidence, "eval_mode", "every classifier was in eval mode and frozen")


@check(
    question="Does the head have one logit per class of the task, and no other?",
    measures="classifiers that were refused because they return another number of logits than the task has classes",
    threshold="none",
    why="Superfluous logits of zero are a wall for the loss: a targeted attack heads for classes that the task does not have, "
    "and DLR divides by a logit that never moves.",
    planted="all other classes at zero, and two superfluous columns (minus infinity fails already while it is learned)",
)
def head_sliced(evidence: Evidence) -> Judgement:
    return _contract(evidence, "head_sliced", "every head has one logit per class")


@check(
    question="Are the outputs logits, and finite?",
    measures="classifiers that were refused because their outputs are probabilities, or not finite",
    threshold="none",
    why="The loss takes the softmax itself, and a second one flattens the gradient. A second softmax that is hidden by a factor "
    "or in a mixture is left to `rescaled_logits`.",
    planted="softmax as the last layer",
    source="Carlini et al. 2019",
)
def outputs_are_logits(evidence: Evidence) -> Judgement:
    return _contract(evidence, "outputs_are_logits", "every classifier returned finite logits")


# -- probes -----------------------------------------------------------------------------------------------------------


def _probes(evidence: Evidence, name: str) -> pd.DataFrame:
    """The facts of one probe, a line per task."""
    facts = evidence.facts
    return facts[(facts["phase"] == PROBES) & (facts["name"] == name)].drop_duplicates(["task"], keep="last")


def _largest(rows: pd.DataFrame) -> tuple[float, int]:
    """The largest difference and its task. NaN counts as infinite."""
    values = rows["value"].fillna(np.inf).tolist()
    return max(zip(values, rows["task"].astype(int).tolist(), strict=True))


def _unanswered(evidence: Evidence) -> Judgement:
    """Judge a run without probes: it fails if a classifier crashed on them, else the check is not run."""
    crashed = [entry for entry in evidence.run.failures if entry.get("check") == PROBES]
    if crashed:
        return Judgement(FAIL, f"{len(crashed)} failures", f"failed when asked: {describe_failure(crashed[-1])}")
    return not_run(NOT_RECORDED_YET)


def _flips(rows: pd.DataFrame) -> list[Sample]:
    """The samples whose predicted class changed although its margin was beyond rounding."""
    found = []
    for row in rows.itertuples(index=False):
        try:
            probe = json.loads(row.text) if isinstance(row.text, str) else {}
        except ValueError:
            probe = {}
        found += [(int(str(row.task)), int(sample)) for sample in probe.get("flips", [])]
    return found


@check(
    question="Does the network answer the same when it is asked twice?",
    measures="largest difference of logits between two passes over the same batch, in units of the largest logit",
    threshold=f"<= {SAME:g}; above that it fails, or warns if every attack at the ranking's eps averages its gradient (eot)",
    why="The same batch on the same device gives the same bits, so any difference comes from randomness or state. Noise hides "
    "the gradient from an attack that takes one sample of it.",
    planted="noise added to the input (sigma eps, eps/4, eps/16, from a generator of its own and from the global one)",
    source="Athalye et al. 2018",
)
def repeatable(evidence: Evidence) -> Judgement:
    rows = _probes(evidence, "repeat_difference")
    if rows.empty:
        return _unanswered(evidence)
    difference, task = _largest(rows)
    found = f"task {task}: {difference:.3g}"
    if difference <= SAME:
        return Judgement(PASS, found, "asked twice, every classifier said the same")
    flips = _flips(rows)
    told = f"the classifier of task {task} answers differently when asked twice (by {difference:.2g})"
    iterative = [a for a in evidence.at_ranking_eps() if a.steps > 1]
    averaged = iterative and all(int(json.loads(dict(a.rest).get("eot", "1"))) > 1 for a in iterative)
    if averaged:
        return Judgement(WARN, found, f"{told}: a randomised defense, attacked with averaged gradients", tuple(flips))
    advice = "; a randomised defense is ranked only under attacks that average their gradient (eot)"
    return Judgement(FAIL, found, told + named(flips) + advice, tuple(flips))


@check(
    question="Does the answer to an image depend on that image alone?",
    measures="largest difference between the logits of an image alone, in a batch, and in another order among other images, in "
    "units of the largest logit",
    threshold=f"<= {CLOSE:g}; above that it warns, above {APART:g} it fails; it fails if a prediction flips whose margin exceeds "
    f"{SAFE_MARGIN:g}",
    why="Kernels round differently for other batch sizes, by parts in a million. A larger difference means that images see each "
    "other, as in batch norm of train mode, and then accuracy depends on how the test set is sorted.",
    planted="batch statistics inside the forward pass, mixed in wholly, by a half and by a tenth; a hundredth and a "
    "thousandth make it warn",
    source="Tramèr et al. 2020",
)
def batch_independent(evidence: Evidence) -> Judgement:
    rows = _probes(evidence, "batch_difference")
    if rows.empty:
        return _unanswered(evidence)
    difference, task = _largest(rows)
    found, flips = f"task {task}: {difference:.3g}", _flips(rows)
    told = f"on task {task} logits change with the rest of the batch (by {difference:.2g}){named(flips)}"
    if difference > APART or flips:
        return Judgement(FAIL, found, told, tuple(flips))
    if difference > CLOSE:
        return Judgement(WARN, found, told)
    return Judgement(PASS, found, "logits do not depend on the rest of the batch")
