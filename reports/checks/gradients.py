"""Checks of gradients and of an attack's course: they are true and carry signal, the loss rises, its settings fit.

`gradients_are_true`, `loss_rises`, `converged`, `gradients_carry_signal` and `settings`.

A blind attack, or one that stops too early, reports robustness that is not there.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd

from reports.checks.check import (
    FAIL,
    NOT_RECORDED_YET,
    PASS,
    WARN,
    Judgement,
    Sample,
    check,
    is_at_chance,
    named,
    not_run,
)
from reports.numbers.completeness import describe_failure
from reports.numbers.evidence import Evidence
from reports.numbers.wording import counted
from results.schema import GRADIENTS

CONVERGED_POINTS = 0.02
"""Accuracy, in [0, 1], that a doubling of the steps may still take."""
NO_SIGNAL_FAIL, NO_SIGNAL_WARN = 0.2, 0.05
"""Shares of a gradient without signal."""
UNSATURATED = ("margin", "dlr")
"""Losses that are differences of logits: no softmax can round their gradient to zero."""
UNTRUE_FAIL, UNTRUE_WARN = 0.2, 0.1
"""Errors of a gradient, 0 to 1."""
TRUE_NEARBY = 0.01
"""The error at tiny steps of a gradient that is exact but for kinks and the arithmetic: usually 1e-6."""
ROUNDED_FAIL = 0.35
"""The same for answers that are flat nearby: rounding to 1/255 is worth 0.19 in a ball of 8/255."""


@check(
    question="Is the gradient that of the function that answers?",
    measures="the sine of the angle between what the answers do and what the gradient adds up to, along random paths through "
    "the ball, or the relative error along an attack's path if that is larger; all but a seventh of the images keep it",
    threshold=f"<= {UNTRUE_WARN:g}; above that it warns, above {UNTRUE_FAIL:g} it fails ({ROUNDED_FAIL:g} if rounded, "
    "never if they are random)",
    why="The integral of a gradient along a path is the change of the function, whatever the function. What is left are kinks of "
    "ReLU, worth 0.027 to 0.081 on 30 networks of digits, defended or not; a foreign or cut gradient is worth 0.11 to 1. A "
    "factor does not count, since an attack follows the direction. Rounding that is finer than the ball evens out along a path: "
    "it is harmless, and the verdict says so.",
    planted="the gradient of another network, half or a quarter of the channels or features cut, most of the network left out, "
    "pixels cut, input purification, shattered answers; a scaled gradient and rounding to 1/255 pass",
    source="Athalye et al. 2018; Tramèr et al. 2020",
)
def gradients_are_true(evidence: Evidence) -> Judgement:
    facts = evidence.facts[evidence.facts["phase"] == GRADIENTS]
    rows = facts[facts["name"] == "gradient_error"].drop_duplicates(["task"], keep="last")
    if rows.empty:
        crashed = [entry for entry in evidence.run.failures if entry.get("check") == GRADIENTS]
        if crashed:
            return Judgement(FAIL, f"{len(crashed)} failures", f"failed when asked: {describe_failure(crashed[-1])}")
        return not_run(NOT_RECORDED_YET)
    said = [_said(row.text) for row in rows.itertuples(index=False)]
    if not any(each.get("moved", 1) for each in said):
        return not_run("neither answers nor gradients change within the ball")
    errors = zip(rows["value"].fillna(np.inf), rows["task"].astype(int), range(len(rows)), strict=True)
    error, task, place = max(errors)
    text = said[place]
    nearby = _nearby(facts, task)
    found = f"task {task}: {error:.3g}, nearby {nearby:.3g} in {text.get('arithmetic', 'unknown arithmetic')}"
    if error <= UNTRUE_WARN:
        # Untrue nearby and true along paths: rounding.
        rounded = " over the ball; nearby they are flat, because something is rounded" if text.get("flat") else ""
        return Judgement(PASS, found, f"gradients are those of the answers{rounded}")
    samples: list[Sample] = [(task, int(sample)) for sample in text.get("wrong", [])]
    told = f"on task {task} the gradient is not that of the answers (error {error:.2g} of 1){named(samples)}"
    if text.get("random"):
        return Judgement(WARN, found, f"{told}; but the answers are random, which looks alike", tuple(samples))
    if nearby <= UNTRUE_WARN:
        told += "; it is nearby, so that the answers jump or shatter"
    if text.get("flat"):
        told += "; nearby the answers do not move at all: something is rounded, more coarsely than the ball allows"
    bound = ROUNDED_FAIL if text.get("flat") else UNTRUE_FAIL
    return Judgement(FAIL if error > bound else WARN, found, told, tuple(samples))


@check(
    question="Does the attack climb?",
    measures="mean attack loss at the last iterate minus at the start",
    threshold="> 0; else it fails where accuracy is above chance, at the ranking's eps with steps below eps, and warns for other "
    "attacks; a network that is at chance already passes",
    why="An attack is an ascent. If its loss does not rise, the gradient does not point uphill, and accuracy above chance is "
    "what the gradient hides. In 240 evaluations of six rows of digits the smallest rise is 0.002, 15 % of the first loss. "
    "Steps of a whole eps or more, or of 0, need not climb; an attack at eps 0 cannot, and is not asked.",
    planted="gradients cut by a detach, rounded inputs, logits x1000 to x10, input purification",
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
    must = {attack.name for attack in evidence.at_ranking_eps() if 0 < (attack.step_in_eps or 0) < 1}
    level = [
        item for item in climbs if not item[0] > 0 and not (np.isfinite(item[0]) and _at_chance(evidence, item[1]))
    ]
    contradictions = [item for item in level if item[0] <= 0 and item[1].attack in must]
    climb, evaluation = min(contradictions or level or climbs, key=lambda item: item[0])
    found = f"{evaluation.attack} on task {evaluation.task} after task {evaluation.after_task}: {climb:+.3g}"
    if contradictions:
        told = f"the loss of {evaluation.attack} did not rise on task {evaluation.task}, and accuracy is above chance"
        return Judgement(FAIL, found, told)
    if level:
        return Judgement(WARN, found, f"the loss of {evaluation.attack} did not rise on task {evaluation.task}")
    if climb > 0:
        return Judgement(PASS, found, "every iterative attack raised its loss")
    return Judgement(PASS, found, "the loss did not rise only where accuracy is at chance already")


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
    measures="share of gradient entries that are zero or not finite, at the start (fail) and along the way (warn), without those "
    "of inputs that are not read",
    threshold=f"fail > {NO_SIGNAL_FAIL:g} at the start with accuracy above chance; warn > {NO_SIGNAL_WARN:g}, not finite, or "
    "inputs that are not read",
    why="A masked gradient has zeros already at the start, and hiding a quarter of the pixels is enough to gain nine points. "
    "In 41 of 42 runs on real CIFAR-100 images and all of digits the share is at most 1e-5. The other is a network of CMAT that "
    "picked no weight of one colour: a third of its gradient is zero, and true. Zeros count as inputs that are not read if "
    "`gradients_are_true` found that the answers do not change along them either (error at most 0.1, nearby 0.01; hiding a "
    "quarter of the pixels of digits is worth 0.85), and if they are there under a margin loss too, which no softmax saturates. "
    "A network that collapsed has no gradient, and no accuracy either.",
    planted="gradients cut by a detach at 100, 95, 75, 50 and 25 % of the pixels; inputs, features and logits rounded; "
    "logits x1000 to x10",
    source="Athalye et al. 2018; Pintor et al. 2022",
)
def gradients_carry_signal(evidence: Evidence) -> Judgement:
    worst_start, worst_way, non_finite = (0.0, ""), (0.0, ""), ""
    unread = _unread(evidence)
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
        silent = [share - unread.get(int(evaluation.task), 0.0) for share in silent]
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
    if unread:
        task, share = max(unread.items(), key=lambda item: item[1])
        told = f"on task {task} {100 * share:.0f} % of the inputs are not read"
        return Judgement(WARN, found, f"{told}: neither the answers nor the gradient depend on them")
    return Judgement(PASS, found, "gradients carry a signal")


def _unread(evidence: Evidence) -> dict[int, float]:
    """By task the share of inputs that its last classifier does not read, where that is more than a few.

    They are zeros at the start of every attack after the last task, one of an unsaturated loss among them, in a gradient that is
    that of the answers.
    """
    facts = evidence.facts[evidence.facts["phase"] == GRADIENTS]
    errors = facts[facts["name"] == "gradient_error"].drop_duplicates(["task"], keep="last")
    true = set(errors.loc[errors["value"] <= UNTRUE_WARN, "task"].astype(int))
    starts: dict[int, dict[str, float]] = {}
    for evaluation, trace in evidence.traces:
        zeros = trace.get("zero_gradients") or []
        if zeros and evaluation.attack in evidence.attacks and evaluation.after_task == evidence.outcomes.last:
            starts.setdefault(int(evaluation.task), {})[evaluation.attack] = zeros[0]
    found = {}
    for task, shares in starts.items():
        unsaturated = any(evidence.attacks[name].loss in UNSATURATED for name in shares)
        if (
            unsaturated
            and task in true
            and _nearby(facts, task) <= TRUE_NEARBY
            and min(shares.values()) > NO_SIGNAL_WARN
        ):
            found[task] = min(shares.values())
    return found


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
    """True if the trace is of the same samples at every step, of an attack that may change them.

    Searches drop broken samples; the rest has small losses.
    """
    attack = evidence.attacks[evaluation.attack]
    return attack.steps > 1 and attack.eps != 0 and attack.any in evidence.outcomes.correct


def _at_chance(evidence: Evidence, evaluation: Any) -> bool:
    """True if accuracy under the attack is at or below chance, within two standard errors."""
    return is_at_chance(evidence, evaluation.attack, int(evaluation.after_task), int(evaluation.task))


def _said(text: Any) -> dict[str, Any]:
    """The JSON of a fact; empty if there is none that can be read."""
    try:
        found = json.loads(text) if isinstance(text, str) else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _nearby(facts: pd.DataFrame, task: int) -> float:
    """The error of a task's gradient at tiny steps; infinite if it is not known."""
    values = facts[(facts["name"] == "gradient_error_nearby") & (facts["task"] == task)]["value"].fillna(np.inf)
    return float(values.iloc[-1]) if len(values) else float("inf")
