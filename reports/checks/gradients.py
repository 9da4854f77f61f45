"""Checks of an attack's course: the loss rises, more steps find little more, gradients carry signal, its settings fit.

`loss_rises`, `converged`, `gradients_carry_signal` and `settings`.

A blind attack, or one that stops too early, reports robustness that is not there.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reports.checks.check import FAIL, PASS, WARN, Judgement, check, is_at_chance, not_run
from reports.numbers.evidence import Evidence
from reports.numbers.wording import counted

CONVERGED_POINTS = 0.02
"""Accuracy, in [0, 1], that a doubling of the steps may still take."""
NO_SIGNAL_FAIL, NO_SIGNAL_WARN = 0.2, 0.05
"""Shares of a gradient without signal."""


@check(
    question="Does the attack climb?",
    measures="mean attack loss at the last iterate minus at the start",
    threshold="> 0, else warn; a network that is at chance already passes",
    why="An attack is an ascent. If the loss does not rise, the gradient does not point uphill.",
    planted="gradients cut by a detach, rounded inputs, logits x1000 to x10 (it warns)",
    source="Carlini et al. 2019; Pintor et al. 2022",
)
def loss_rises(evidence: Evidence) -> Judgement:
    climbs = [
        (trace["loss"][-1] - trace["loss"][0], evaluation)
        for evaluation, trace in evidence.traces
        if evaluation.attack in evidence.attacks and len(trace.get("loss") or []) >= 2 and _climbs(evidence, evaluation)
    ]
    if not climbs:
        return not_run("no iterative attack left a trace of its loss")
    climb, evaluation = min(climbs, key=lambda item: item[0])
    found = f"{evaluation.attack} on task {evaluation.task} after task {evaluation.after_task}: {climb:+.3g}"
    if climb > 0:
        return Judgement(PASS, found, "every iterative attack raised its loss")
    if np.isfinite(climb) and _at_chance(evidence, evaluation):
        return Judgement(PASS, found, "the loss did not rise only where accuracy is at chance already")
    return Judgement(WARN, found, f"the loss of {evaluation.attack} did not rise on task {evaluation.task}")


@check(
    question="Would more steps find more?",
    measures="accuracy (any-iterate) that the longest attack at the ranking's eps takes beyond one of at most half its steps, "
    "per doubling",
    threshold=f"<= {100 * CONVERGED_POINTS:g} points per doubling, else warn",
    why="Honest networks on digits lose 0.3 to 1.9 points per doubling. If an attack still takes more it has not converged, and "
    "the reported accuracy is too high.",
    planted="noise added to the input (it warns)",
    source="Carlini et al. 2019",
)
def converged(evidence: Evidence) -> Judgement:
    """Compare the longest attack with the longest one of at most half its steps at the same step size; the best step size
    counts.
    """
    drops = []
    ranked = [a for a in evidence.at_ranking_eps() if a.steps > 1 and a.any in evidence.outcomes.correct]
    longest = max((a.steps for a in ranked), default=0)
    for attack in (a for a in ranked if a.steps == longest):
        alike = [a for a in ranked if a.apart_from("steps") == attack.apart_from("steps")]
        shorter = [a for a in alike if 2 * a.steps <= attack.steps]
        if shorter:
            half = max(shorter, key=lambda a: a.steps)
            before, after = evidence.after_last(half.any, attack.any)
            if len(before):
                doublings = np.log2(attack.steps / half.steps)
                drops.append((float((before.mean() - after.mean()) / doublings), attack.name))
    if not drops:
        return not_run("no attack was run with half its steps at the same step size")
    drop, name = min(drops)
    found = f"{name}: {100 * drop:.1f} points per doubling"
    if drop > CONVERGED_POINTS:
        return Judgement(WARN, found, f"{name} still takes {100 * drop:.1f} points per doubling of its steps")
    return Judgement(PASS, found, "more steps change little")


@check(
    question="Does the attack see a gradient?",
    measures="share of gradient entries that are zero or not finite, at the start (fail) and along the way (warn)",
    threshold=f"fail > {NO_SIGNAL_FAIL:g} at the start with accuracy above chance; warn > {NO_SIGNAL_WARN:g}, or not finite",
    why="A masked gradient has zeros already at the start, and hiding a quarter of the pixels is enough to gain nine points. "
    "Over 14 rows on real CIFAR-100 images and all rows on digits the share is at most 1e-5; a network that does not look at "
    "some pixels may have more. A network that collapsed has no gradient, and no accuracy either.",
    planted="gradients cut by a detach at 100, 95, 75, 50 and 25 % of the pixels; inputs, features and logits rounded; "
    "logits x1000 to x10",
    source="Athalye et al. 2018; Pintor et al. 2022",
)
def gradients_carry_signal(evidence: Evidence) -> Judgement:
    worst_start, worst_way, non_finite = (0.0, ""), (0.0, ""), ""
    seen = False
    for evaluation, trace in evidence.traces:
        zeros = trace.get("zero_gradients") or []
        if not zeros or evaluation.attack not in evidence.attacks:
            continue
        seen = True
        broken = trace.get("non_finite") or [0.0] * len(zeros)
        silent = [z + b for z, b in zip(zeros, broken, strict=False)]
        where = f"{evaluation.attack} on task {evaluation.task} after task {evaluation.after_task}"
        non_finite = non_finite or (where if max(broken) > 0 else "")
        if max(silent) > NO_SIGNAL_WARN and _at_chance(evidence, evaluation):
            continue
        worst_start, worst_way = max(worst_start, (silent[0], where)), max(worst_way, (max(silent), where))
    if not seen:
        return not_run("no attack left a trace of its gradients")
    found = f"start {worst_start[0]:.3g}, along the way {worst_way[0]:.3g}"
    if worst_start[0] > NO_SIGNAL_FAIL:
        return Judgement(
            FAIL, found, f"{100 * worst_start[0]:.0f} % of the gradient is zero at the start: {worst_start[1]}"
        )
    if non_finite:
        return Judgement(WARN, found, f"gradients that are not finite: {non_finite}")
    if worst_way[0] > NO_SIGNAL_WARN:
        return Judgement(WARN, found, f"{100 * worst_way[0]:.0f} % of the gradient is zero: {worst_way[1]}")
    return Judgement(PASS, found, "gradients carry a signal")


@check(
    question="Did an attack warn of its own settings?",
    measures="warnings of the demanded attacks about their own settings",
    threshold="none, else warn",
    why="A step size of 0, or steps that together never leave the start, are allowed but hardly meant.",
    planted="PGD with step sizes of 0 and of 3 eps",
)
def settings(evidence: Evidence) -> Judgement:
    said: dict[str, None] = {}
    traced = 0
    for evaluation, trace in evidence.traces:
        if evaluation.attack in evidence.attacks:
            traced += 1
            warnings = trace.get("warnings")
            for warning in warnings if isinstance(warnings, list) else []:
                said[f"{evaluation.attack}: {warning}"] = None
    if not traced:
        return not_run("no attack left a trace")
    if said:
        more = f" and {len(said) - 1} more" if len(said) > 1 else ""
        return Judgement(WARN, counted(len(said), "warning"), min(said) + more)
    return Judgement(PASS, "0 warnings", "no attack warned of its settings")


def _climbs(evidence: Evidence, evaluation: Any) -> bool:
    """True if the trace is of the same samples at every step. Searches drop broken samples; the rest has small losses."""
    attack = evidence.attacks[evaluation.attack]
    return attack.steps > 1 and attack.any in evidence.outcomes.correct


def _at_chance(evidence: Evidence, evaluation: Any) -> bool:
    """True if accuracy under the attack is at or below chance, within two standard errors."""
    return is_at_chance(evidence, evaluation.attack, int(evaluation.after_task), int(evaluation.task))
