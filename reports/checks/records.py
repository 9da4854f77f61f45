"""Checks of the record itself: that it is whole, under the stated conditions, and that something was learned.

`failures`, `complete`, `within_eps`, `ball_used`, `unchanged`, `learned_something`, `validation_reproduced` and `unforgetting`.
"""

from __future__ import annotations

import numpy as np

from reports.checks.check import FAIL, PASS, WARN, Judgement, check, is_at_chance, not_run
from reports.numbers.completeness import describe_failure, learns_all_at_once, missing_cells, standing_failures
from reports.numbers.evidence import Evidence
from reports.numbers.metrics import CLEAN
from reports.numbers.proofs import KINDS, proofs, what_was_reached, why_unproved
from reports.numbers.wording import counted, first_of
from results.schema import HARNESS, UNFORGETTING

CHANGE_TOLERANCE = 1e-6
"""Excess of the largest change over eps that rounding of x + eps to float32 explains."""
SHARE_OF_BALL = 0.995
"""Share of eps that the largest change of an attack must reach."""
FILLS_ITS_BALL = ("pgd", "apgd", "fgsm", "noise")
"""Kinds of attacks whose largest change is their eps: they start anywhere in the ball, or step to its surface."""
RUN_AGAIN = "; run it again with --force"
"""Advice for runs that were recorded before there were proofs."""


@check(
    question="Did every demanded stage and attack run through?",
    measures="failures that explain a missing cell of this preset",
    threshold="none",
    why="A crash is a failure: it is neither robustness nor a weak attack.",
    planted="classifiers that raise or answer with NaN, always or only for bright images; an attack that raises",
    source="Tramèr et al. 2020",
)
def failures(evidence: Evidence) -> Judgement:
    found = standing_failures(evidence)
    if not found:
        return Judgement(PASS, "0 failures", "nothing failed")
    return Judgement(FAIL, f"{len(found)} failures", f"failed: {describe_failure(found[-1])}")


@check(
    question="Is every outcome stored that the preset asks for?",
    measures="demanded cells that are stored",
    threshold="all",
    why="A mean over the cells that went well is another number.",
    planted="runs that were stopped, and records with a part deleted",
)
def complete(evidence: Evidence) -> Judgement:
    missing = missing_cells(evidence)
    if not missing:
        return Judgement(PASS, "0 cells missing", "every demanded cell is stored")
    (attack, i, j), count = missing[0], len(missing)
    first = f"{attack} on task {j} after task {i}"
    return Judgement(FAIL, f"{count} cells missing", f"{count} demanded cells are not stored, the first: {first}")


@check(
    question="Did every adversarial image stay within eps of its image, in pixels?",
    measures="largest change of a pixel in the images that an attack returned, minus eps",
    threshold=f"<= {CHANGE_TOLERANCE:g}",
    why="x + eps is rounded to float32, which is finer than this. An eps in another space shows here at once.",
    planted="attacks whose images leave the ball by a tenth, a hundredth and a thousandth of eps",
    source="Carlini et al. 2019",
)
def within_eps(evidence: Evidence) -> Judgement:
    measured = evidence.evaluations.dropna(subset=["largest_change", "eps"])
    if measured.empty:
        return not_run("no evaluation recorded its largest change")
    attacks = {**evidence.extra_attacks, **evidence.attacks}
    limits = measured["attack"].map({name: float(a.eps) for name, a in attacks.items() if a.eps is not None})
    excess = (measured["largest_change"] - limits).to_numpy(float)
    if np.isnan(excess).all():
        return not_run("no demanded attack recorded its largest change")
    worst = int(np.nanargmax(excess))
    name = str(measured["attack"].iloc[worst])
    found = f"{name}: {excess[worst]:+.3g}"
    if excess[worst] > CHANGE_TOLERANCE:
        return Judgement(FAIL, found, f"{name} changed a pixel by {excess[worst]:.3g} more than its eps")
    return Judgement(PASS, found, "no attack left its ball")


@check(
    question="Does an attack that may change pixels by eps do so?",
    measures="largest change of a pixel, over the change that the attack can reach (eps, or all its steps if they reach less); "
    "the smallest over attacks",
    threshold=f">= {SHARE_OF_BALL:g} for PGD, APGD, FGSM, noise and plug-in attacks in the linf norm",
    why="Such attacks start anywhere in the ball or step to its surface, so of thousands of pixels some change by all of eps. "
    "If none does, the attack was run with another eps than its name says.",
    planted="PGD whose eps is wrong by a factor of 255, 4, 2, 10/9 and 100/99",
    source="Carlini et al. 2019",
)
def ball_used(evidence: Evidence) -> Judgement:
    known = evidence.evaluations.dropna(subset=["largest_change"])
    reached = known.groupby("attack")["largest_change"].max().to_dict()
    shares = []
    for attack in evidence.attacks.values():
        if attack.norm != "linf" or not attack.eps or attack.name not in reached or not _fills_its_ball(attack.kind):
            continue
        reach = attack.eps
        if attack.step_size and dict(attack.rest).get("random_start") == "false":
            reach = min(reach, attack.steps * attack.step_size)
        shares.append((float(reached[attack.name]) / float(reach), attack.name))
    if not shares:
        return not_run("no attack that fills its ball recorded its largest change")
    share, name = min(shares)
    found = f"{name}: {share:.3f} of eps"
    if share < SHARE_OF_BALL:
        return Judgement(FAIL, found, f"{name} changed no pixel by more than {share:.3g} of its eps")
    return Judgement(PASS, found, "every attack used its whole ball")


MAY_END_INSIDE = (
    "clean", "fab", "square", "transfer", "submitted", "rescaled", "torchattacks",
    "autoattack", "autoattack-c3", "autoattack-c2", "ensemble",
)  # fmt: skip
"""Kinds of attacks that may end inside their ball: they look for small changes, or consist of other attacks."""


def _fills_its_ball(kind: str) -> bool:
    return kind in FILLS_ITS_BALL or kind not in MAY_END_INSIDE


@check(
    question="Did the evaluation leave the network as it was?",
    measures="evaluations after which parameters, buffers, modes, gradients, the global random state and all that the classifier "
    "holds in Python (attributes, hooks, closures, class attributes, globals of its files) hash as before",
    threshold="all",
    why="If batch-norm statistics move under attack, the network is another one with every batch, and numbers depend on the "
    "order. A classifier that keeps the images it is asked about can answer for the nearest one. One grey image goes through "
    "before, so that what is made at first use and kept is no change.",
    planted="batch norm that keeps averaging in eval mode (momentum 0.1 to 0.00001), images kept in dicts, lists, closures, "
    "class attributes and globals",
    source="Athalye et al. 2018",
)
def unchanged(evidence: Evidence) -> Judgement:
    known = evidence.evaluations["unchanged"].dropna()
    if known.empty:
        return not_run("no evaluation recorded it")
    changed = int((~known.astype(bool)).sum())
    found = f"{changed} of {len(known)} changed something"
    if changed:
        return Judgement(FAIL, found, f"{changed} evaluations changed the classifier or the random state")
    return Judgement(PASS, found, "every evaluation left everything as it was")


@check(
    question="Was every task learned?",
    measures="tasks whose clean accuracy right after learning is at or below chance, within two standard errors",
    threshold="none, else warn",
    why="A network that collapsed to one class is robust at chance, and may stand above an honest one that attacks break.",
    planted="made-up records at chance",
)
def learned_something(evidence: Evidence) -> Judgement:
    cells = sorted(evidence.outcomes.correct.get(CLEAN, {}))
    asked = cells if learns_all_at_once(evidence) else [(i, j) for i, j in cells if i == j]
    asked = [(i, j) for i, j in asked if evidence.chance(j) > 0]
    if not asked:
        return not_run("clean accuracies or the chance level are not stored")
    at_chance = [j for i, j in asked if is_at_chance(evidence, CLEAN, i, j)]
    found = f"{len(at_chance)} of {len(asked)} tasks"
    if at_chance:
        return Judgement(WARN, found, f"clean accuracy is at chance on {found} right after learning")
    return Judgement(PASS, found, "every task was learned")


@check(
    question="Is the evaluated network the one that the method selected?",
    measures="validation accuracy of classifier(t) as the harness finds it, minus the one that the method logged when it "
    "selected",
    threshold="within one validation sample",
    why="The harness knows the split, the attack and the starts to the bit, so any difference comes from another split, another "
    "attack or another normalisation.",
    planted="normalisation twice, normalisation left out, a logged accuracy that is wrong by 20, 5 and 2 points",
)
def validation_reproduced(evidence: Evidence) -> Judgement:
    facts = evidence.facts[evidence.facts["phase"] == HARNESS]
    values = dict(zip(zip(facts["task"].tolist(), facts["name"].tolist(), strict=True), facts["value"], strict=True))
    sizes = dict(zip(evidence.tasks["task"].tolist(), evidence.tasks["validation"].tolist(), strict=True))
    compared = []
    for (task, name), value in values.items():
        logged = values.get((task, name.replace("validation_", "selected_")))
        if name.startswith("validation_") and logged is not None and not np.isnan(logged):
            difference = abs(value - logged)
            # An accuracy of no single task (task -1) is over all of them together.
            samples = difference * sizes.get(task, max(1, sum(sizes.values())))
            compared.append((np.inf if np.isnan(samples) else samples, task, name, value, logged))
    if not compared:
        return not_run("the method logged no validation accuracy when it selected")
    samples, task, name, value, logged = max(compared)
    found = f"task {task} {name}: harness {value:.4f}, logged {logged:.4f}"
    if samples > 1 + 1e-6:
        return Judgement(FAIL, found, f"the method logged {logged:.4f} on task {task}, the harness finds {value:.4f}")
    return Judgement(PASS, found, "the harness finds the accuracy that the method logged")


@check(
    question="Does a method that claims not to forget keep every old classifier?",
    measures="old classifiers, their logits and some attacks, made again by a fresh, confined process from the last state alone",
    threshold="all equal to the bit, and no reach for a file, a connection or another process, for methods that claim it; "
    "warn if the machine could confine no process",
    why="Every change is forgetting, however small. The process is fresh because a copy that the learning process kept is not in "
    "the state, and confined because a copy in a file is not either.",
    planted="batch norm of old tasks left unfrozen; old classifiers handed out from a cache, or from files and other places "
    "outside the state, while the state forgets",
)
def unforgetting(evidence: Evidence) -> Judgement:
    claims, found, tasks = evidence.protocol.claims, proofs(evidence.facts), evidence.outcomes.tasks
    if claims is None:
        return not_run("an older record that does not say what the method claims")
    if UNFORGETTING not in claims:
        return not_run("the method does not claim not to forget")
    facts = evidence.facts[evidence.facts["phase"] == UNFORGETTING]
    if refused := what_was_reached(facts):
        return Judgement(FAIL, "0 tasks", f"to make its old classifiers again, the method {refused}")
    if reason := why_unproved(facts):
        return Judgement(WARN, "0 tasks", f"nothing could be proved on the machine of this run: {reason}")
    differing = {kind: [task for task, proof in found.items() if kind in proof.differing] for kind in KINDS}
    if any(differing.values()):
        told = "; ".join(f"{kind} of {_first(of_kind)}" for kind, of_kind in differing.items() if of_kind)
        return Judgement(FAIL, told, f"not what was learned: {told}")
    if not found and missing_cells(evidence):
        return not_run("the proof follows the last task, and the run is not complete")
    if not found:
        return Judgement(FAIL, "0 tasks", f"the method claims not to forget, and no proof of it is stored{RUN_AGAIN}")
    whole = sum(proof.is_whole for proof in found.values())
    attacks = sum(proof.attacks for proof in found.values())
    words = f"{whole} of {tasks} classifiers, {counted(attacks, 'attack')}"
    if whole < tasks:
        reason = f"the proof that nothing is forgotten covers {whole} of {counted(tasks, 'task')}{RUN_AGAIN}"
        return Judgement(FAIL, words, reason)
    repeated = f", and {counted(attacks, 'attack')} gave the same predictions" if attacks else ""
    made = f"made {whole} of {tasks} classifiers again, bit for bit"
    return Judgement(PASS, words, f"a fresh process with nothing but the last state {made}{repeated}")


def _first(tasks: list[int]) -> str:
    """Name the first tasks: `task 2`, `tasks 0, 1, 2 and 5 more`."""
    return f"task{'' if len(tasks) == 1 else 's'} {first_of([str(task) for task in tasks])}"
