"""Checks that put questions of their own to the classifiers: contract, probes of a few passes, and extra attacks on a subset.

The attacks are stored like all others, under names that `Protocol.checks` lists; no number of the leaderboard is made of
them. Probes are stored as facts of the phase `PROBES`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd

from reports.checks.attacks import NOISE_LEVEL, samples_at, standing_under
from reports.checks.check import FAIL, FINAL, PASS, WARN, Judgement, Sample, check, errors, named, not_run
from reports.numbers.completeness import describe_failure, standing_failures
from reports.numbers.evidence import AttackFacts, Evidence
from reports.numbers.metrics import CLEAN, WORST
from reports.numbers.statistics import significantly_better
from results.schema import PROBES, SAFE_MARGIN

SAME = 1e-6
CLOSE, APART = 1e-4, 1e-2
ABOVE_CONTROL = 0.2
LEFT_BY_UNBOUNDED = 0.1
"""Honest networks keep nothing at all."""
LARGEST_EPS = {"linf": 1, "l2": 64}
"""Every image of 3x32x32 pixels is in reach of every other."""
OLDER = "recorded before this was measured; run the preset again where its checkpoints are"


# -- the contract, which the harness holds every classifier to before it measures anything ----------------------------


def _kept(evidence: Evidence, name: str, words: str) -> Judgement:
    broken = [entry for entry in standing_failures(evidence) if entry.get("check") == name]
    if broken:
        task = broken[-1].get("task")
        return Judgement(FAIL, f"{len(broken)} refusals", f"task {task}: {broken[-1].get('message')}")
    if evidence.evaluations.empty:
        return not_run("nothing was evaluated")
    return Judgement(PASS, f"{len(evidence.evaluations)} evaluations", words)


@check(
    question="Was the network in eval mode and frozen?",
    measures="classifiers refused because a submodule was in train mode or a parameter took gradients",
    threshold="none",
    why="In train mode batch norm looks at the other images of the batch, and an image's answer is no longer its own.",
    planted="batch norm left in train mode, in every module and in a single one",
    source="Tramèr et al. 2020",
)
def eval_mode(evidence: Evidence) -> Judgement:
    return _kept(evidence, "eval_mode", "every classifier was in eval mode and frozen")


@check(
    question="Does the head have one logit per class of the task, and none beside them?",
    measures="classifiers refused because they return another number of logits than the task has classes",
    threshold="none",
    why="Superfluous logits of zero are a wall that the loss runs into: a targeted attack heads for classes that the task does "
    "not have, and DLR divides by a logit that never moves.",
    planted="all other classes at zero, and two superfluous columns (minus infinity already fails when it is learned)",
)
def head_sliced(evidence: Evidence) -> Judgement:
    return _kept(evidence, "head_sliced", "every head has one logit per class")


@check(
    question="Are the outputs logits, and finite?",
    measures="classifiers refused because their outputs are probabilities, or not finite",
    threshold="none",
    why="The loss takes the softmax itself: a second one flattens the gradient. What hides it (a factor, a mixture) meets "
    "`rescaled_logits`.",
    planted="softmax as the last layer",
    source="Carlini et al. 2019",
)
def outputs_are_logits(evidence: Evidence) -> Judgement:
    return _kept(evidence, "outputs_are_logits", "every classifier returned finite logits")


# -- probes -----------------------------------------------------------------------------------------------------------


def _probes(evidence: Evidence, name: str) -> pd.DataFrame:
    facts = evidence.facts
    return facts[(facts["phase"] == PROBES) & (facts["name"] == name)].drop_duplicates(["task"], keep="last")


def _largest(rows: pd.DataFrame) -> tuple[float, int]:
    """The largest difference and its task; what is no number counts as infinite."""
    values = rows["value"].fillna(np.inf).tolist()
    return max(zip(values, rows["task"].astype(int).tolist(), strict=True))


def _unanswered(evidence: Evidence) -> Judgement:
    """Nobody asked, or a classifier raised when it was asked: a crash is a failure."""
    crashed = [entry for entry in evidence.run.failures if entry.get("check") == PROBES]
    if crashed:
        return Judgement(FAIL, f"{len(crashed)} failures", f"failed when asked: {describe_failure(crashed[-1])}")
    return not_run(OLDER)


def _flips(rows: pd.DataFrame) -> list[Sample]:
    """Samples whose predicted class changed though its margin was no matter of rounding."""
    found = []
    for row in rows.itertuples(index=False):
        try:
            told = json.loads(row.text) if isinstance(row.text, str) else {}
        except ValueError:
            told = {}
        found += [(int(str(row.task)), int(sample)) for sample in told.get("flips", [])]
    return found


@check(
    question="Does the network answer the same when it is asked twice?",
    measures="largest difference of logits between two passes over the same batch, in units of the largest logit",
    threshold=f"<= {SAME:g}; above that fail, or warn where every attack at the ranking's eps averages its gradient (eot)",
    why="The same batch on the same device gives the same bits, so any difference is randomness or state. Noise hides the "
    "gradient from an attack that takes one sample of it.",
    planted="noise added to the input (sigma eps, eps/4, eps/16, of its own and of the global generator)",
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
    question="Is an image's answer its own, whatever else is in the batch?",
    measures="largest difference of logits between an image alone, in a batch, and in another order among other images, in "
    "units of the largest logit",
    threshold=f"<= {CLOSE:g}; above that warn, above {APART:g} fail; fail where a prediction flips whose margin exceeds "
    f"{SAFE_MARGIN:g}",
    why="Kernels round differently for other batch sizes, by parts in a million. More means that images see each other, as in "
    "batch norm of train mode, and then accuracy depends on how the test set is sorted.",
    planted="batch statistics used inside the forward pass, wholly, by a half and by a tenth; by a hundredth and a "
    "thousandth it warns",
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


# -- extra attacks ----------------------------------------------------------------------------------------------------


def _extra(evidence: Evidence, chosen: Callable[[AttackFacts], bool]) -> list[AttackFacts]:
    """The attacks of checks that cover something after the last task."""
    attacks = [a for a in evidence.check_attacks.values() if chosen(a)]
    return [a for a in attacks if len(evidence.standing([a.name])[0])]


@check(
    question="Does an attack that may change nothing change nothing?",
    measures="samples whose predicted class under PGD with eps = 0 is not that of the clean image, beyond rounding",
    threshold="none",
    why="It runs the whole machinery of an attack on the clean image; a difference is randomness, state, or another input "
    "than the one named.",
    planted="noise added to the input (sigma eps)",
    source="Carlini et al. 2019",
)
def eps_zero(evidence: Evidence) -> Judgement:
    zero = _extra(evidence, lambda attack: attack.kind == "pgd" and attack.eps == 0)
    if not zero:
        return not_run(OLDER)
    changed: list[Sample] = []
    count = 0
    for task in range(evidence.outcomes.tasks):
        clean, other = (evidence.outcomes.final.get(name, {}).get(task) for name in (CLEAN, zero[0].name))
        if clean is None or other is None:
            continue
        both = (clean.predicted >= 0) & (other.predicted >= 0)
        count += int(both.sum())
        apart = both & (clean.predicted != other.predicted)
        # Classes of equal logits: rounding may decide.
        sure = np.maximum(np.abs(clean.margin), np.abs(other.margin)) > SAFE_MARGIN
        changed += [(task, int(sample)) for sample in evidence.outcomes.samples[task][apart & sure]]
    found = f"{len(changed)} of {count} samples"
    if changed:
        told = f"{len(changed)} of {count} predictions change under an attack that may change nothing{named(changed)}"
        return Judgement(FAIL, found, told, tuple(changed))
    return Judgement(PASS, found, "an attack of eps 0 finds the clean predictions")


@check(
    question="Does an attack that may change everything win?",
    measures="accuracy under PGD (any-iterate) from the image itself with eps = 1, the step size in proportion, over all "
    "tasks and on the worst one",
    threshold="fail above chance by two standard errors over all tasks, or four on one; warn above "
    f"{100 * LEFT_BY_UNBOUNDED:g} % where the row claims something above chance",
    why="With eps = 1 every image can become any other, so a working attack drives accuracy to nothing. What stands has no "
    "gradient to follow, and the reported robustness is that of the attack's blindness. It starts at the image: a random "
    "image is wrong by chance.",
    planted="logits x1000, x100, x30 and x10; logits and inputs rounded; gradients cut by a detach",
    source="Carlini et al. 2019; Athalye et al. 2018",
    cost=FINAL,
)
def unbounded(evidence: Evidence) -> Judgement:
    whole = _extra(evidence, lambda attack: attack.kind == "pgd" and attack.eps == LARGEST_EPS.get(attack.norm))
    if not whole:
        return not_run(OLDER)
    attack = evidence.strongest_name(whole[0])
    (standing,), ids = evidence.standing_by_sample([attack])
    if not len(standing):
        return not_run("no sample was attacked")
    show = samples_at(ids, standing)
    chances = np.array([evidence.chance(int(task)) for task in ids[:, 0]])
    excess = float(standing.mean() - chances.mean()) - errors(float(chances.mean()), len(standing))
    words = [f"{100 * standing.mean():.1f} % of {len(standing)} samples"]
    alone = []
    for task in np.unique(ids[:, 0]):
        mine, chance = standing[ids[:, 0] == task], evidence.chance(int(task))
        alone.append((float(mine.mean()) - chance - errors(chance, len(mine), 4), float(mine.mean()), int(task)))
    beyond, accuracy, task = max(alone)
    words.append(f"task {task}: {100 * accuracy:.1f} %")
    found = ", ".join(words)
    if excess > 0 or beyond > 0:
        told = f"an attack with eps = 1 leaves {found}, above chance: it has no gradient to follow"
        return Judgement(FAIL, found, told, tuple(show))
    if float(standing.mean()) > LEFT_BY_UNBOUNDED and _claims_something(evidence):
        told = f"an attack with eps = 1 leaves {found}, where honest networks keep none"
        return Judgement(WARN, found, told, tuple(show))
    return Judgement(PASS, found, "an attack with eps = 1 leaves next to nothing")


def _claims_something(evidence: Evidence) -> bool:
    """Whether what the row reports is above chance; what collapsed to one class stands under every attack."""
    cells = _worst_cells(evidence)
    if not cells:
        return True
    chance = float(np.mean([evidence.chance(task) for task in range(evidence.outcomes.tasks)]))
    return float(np.mean([mean for mean, _ in cells])) > chance + errors(chance, sum(count for _, count in cells))


@check(
    question="Would the attack do better if the logits had another scale?",
    measures="samples that stand under every attack of the row and fall when PGD sees the logits x0.01, x0.1, x10 or x100, "
    "against those that fall the other way",
    threshold=f"no significant excess: one-sided exact McNemar test, p < {NOISE_LEVEL:g} fails, for the best factor",
    why="The scale of the logits changes no prediction, but where float32 saturates or probabilities stand for logits it "
    "changes the gradient. One-sided: a confident honest network may look better under x10.",
    planted="logits x1000, x100 and x30 (x10 is found by others; softmax times 5 and mixtures gain nothing on two classes)",
    source="Carlini & Wagner 2017; Croce & Hein 2020",
    cost=FINAL,
)
def rescaled_logits(evidence: Evidence) -> Judgement:
    scaled = _extra(evidence, lambda attack: attack.kind == "rescaled" and attack.threat == evidence.ranking)
    if not scaled:
        return not_run(OLDER)
    if WORST not in evidence.outcomes.correct:
        return not_run("there is no reported accuracy to compare with")
    findings: list[tuple[float, float, str, str, float, float]] = []
    for attack in scaled:
        name = evidence.strongest_name(attack)
        reported, rescaled = evidence.after_last(WORST, name)
        if len(reported):
            p = significantly_better(reported, rescaled)
            factor = Fraction(json.loads(dict(attack.rest)["scale"]))
            drop = float(reported.mean() - rescaled.mean())
            findings.append((p, -drop, f"x{float(factor):g}", name, float(reported.mean()), float(rescaled.mean())))
    if not findings:
        return not_run("no sample was attacked with rescaled logits and with everything else")
    p, _, scale, name, before, after = min(findings)
    found = f"{scale}: {100 * after:.1f} % against {100 * before:.1f} % reported, p = {p:.3g}"
    if p < NOISE_LEVEL:
        show = standing_under(evidence, WORST, name)
        told = f"with logits {scale} PGD leaves {100 * after:.1f} %, where the row reports {100 * before:.1f} % of the same "
        "samples"
        return Judgement(FAIL, found, told + named(show), tuple(show))
    return Judgement(PASS, found, "no scale of the logits makes the attack clearly stronger")


# -- other runs -------------------------------------------------------------------------------------------------------


@check(
    question="Do these attacks break a network that nobody defended?",
    measures="`worst` of the undefended network per task (single_task_standard) of the same seed, against chance and against "
    "this row",
    threshold=f"the control at or below chance (two standard errors), and at least {100 * ABOVE_CONTROL:g} points below a row "
    "that is above chance: one of both missed warns, both fail; not_run without such a run",
    why="Attacks that leave an undefended network standing say nothing of a defended one. A row that is itself at chance "
    "claims nothing.",
    planted="made-up records of controls that stand",
    source="Carlini et al. 2019",
)
def control_broken(evidence: Evidence) -> Judgement:
    if evidence.control is None:
        return not_run("no undefended network per task was run under this protocol and seed")
    accuracy = {}
    for name, one in (("row", evidence), ("control", evidence.control)):
        cells = _worst_cells(one)
        if not cells:
            return not_run(f"the {name} has no accuracy over all attacks")
        accuracy[name] = float(np.mean([mean for mean, _ in cells]))
    samples = sum(count for _, count in _worst_cells(evidence.control))
    chance = float(np.mean([evidence.chance(task) for task in range(evidence.outcomes.tasks)]))
    row, control = accuracy["row"], accuracy["control"]
    found = f"control {100 * control:.1f} %, row {100 * row:.1f} %, chance {100 * chance:.1f} %"
    if row <= chance + errors(chance, samples):
        return Judgement(PASS, found, "the row claims nothing above chance")
    stands, near = control > chance + errors(chance, samples), row - control < ABOVE_CONTROL
    told = f"the undefended network keeps {100 * control:.1f} % under the same attacks, this row {100 * row:.1f} %"
    if stands and near:
        return Judgement(FAIL, found, f"{told}: they do not tell one from the other")
    if stands or near:
        return Judgement(WARN, found, told)
    return Judgement(PASS, found, "the same attacks break an undefended network")


def _worst_cells(evidence: Evidence) -> list[tuple[float, int]]:
    """(accuracy, samples) under `worst` after the last task, per task; empty where a task has none."""
    found: list[tuple[float, int]] = []
    for task in range(evidence.outcomes.tasks):
        cell: Any = evidence.outcomes.vector(WORST, evidence.outcomes.last, task)
        covered = cell[cell >= 0]
        if not len(covered):
            return []
        found.append((float((covered == 1).mean()), len(covered)))
    return found
