"""Checks of the attacks: a weak or blind attack reports robustness that is not there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from reports.checks import FAIL, NOT_RUN, PASS, WARN, Verdict, is_at_chance, unit
from reports.evidence import AttackFacts, Evidence
from reports.metrics import CLEAN
from reports.statistics import significantly_better

NOISE_LEVEL = 0.01
"""Level of the one-sided tests between attacks: they are nested, so an honest excess is a handful of samples at most."""
FINAL_ANY_POINTS = 0.05
CONVERGED_POINTS = 0.02
NO_SIGNAL_FAIL = 0.9
NO_SIGNAL_WARN = 0.5


def robust_below_clean(evidence: Evidence) -> Verdict:
    pairs = [(evidence.strongest_name(attack), CLEAN) for attack in evidence.attacks.values() if attack.kind != CLEAN]
    return _no_weaker(
        evidence, pairs, "robust_below_clean", "samples right under attack (any-iterate) but wrong on the clean image"
    )


def pgd_below_baselines(evidence: Evidence) -> Verdict:
    """The strongest PGD, any-iterate, is at least as strong as FGSM and random noise at the same norm and eps.

    The strongest, because a sweep of step sizes holds honest members that are weaker: steps too small to cross the
    ball, or so large that they jump from corner to corner.
    """
    pairs = []
    for base in (a for a in evidence.attacks.values() if a.kind in ("fgsm", "noise")):
        same = [a for a in evidence.attacks.values() if a.kind == "pgd" and (a.norm, a.eps) == (base.norm, base.eps)]
        if same:
            strongest = min((evidence.strongest_name(a) for a in same), key=lambda name: _standing(evidence, name))
            pairs.append((strongest, evidence.strongest_name(base)))
    return _no_weaker(evidence, pairs, "pgd_below_baselines", "samples broken by FGSM or noise that PGD does not break")


def not_rising_with_steps(evidence: Evidence) -> Verdict:
    """More steps of the same trajectory break no fewer samples, any-iterate."""

    def group(a: AttackFacts) -> tuple[Any, ...]:
        return a.kind, a.norm, a.eps, a.step_size, a.loss, a.restarts

    return _no_weaker(
        evidence,
        _ladder(evidence, group, lambda a: a.steps),
        "not_rising_with_steps",
        "samples that fewer steps break and more steps of the same size do not",
    )


def not_rising_with_eps(evidence: Evidence) -> Verdict:
    """A larger ball, with the step size in proportion, breaks no fewer samples, any-iterate."""

    def group(a: AttackFacts) -> tuple[Any, ...]:
        relative = a.step_size / a.eps if a.step_size is not None and a.eps else None
        return a.kind, a.norm, a.steps, relative, a.loss, a.restarts

    return _no_weaker(
        evidence,
        _ladder(evidence, group, lambda a: a.eps or 0),
        "not_rising_with_eps",
        "samples that a smaller eps breaks and a larger one does not",
    )


def final_close_to_any(evidence: Evidence) -> Verdict:
    verdict = unit(
        "final_close_to_any",
        "accuracy at the final iterate minus any-iterate, after the last task",
        f"<= {100 * FINAL_ANY_POINTS:g} points, else the attack loses samples it had broken: report any-iterate",
    )
    differences = []
    for attack in evidence.attacks.values():
        if attack.any in evidence.outcomes.correct:
            final, any_ = evidence.after_last(attack.name, attack.any)
            if len(final):
                differences.append((float(final.mean() - any_.mean()), attack.name))
    if not differences:
        return verdict("", NOT_RUN, "no attack has any-iterate outcomes after the last task")
    difference, name = max(differences)
    found = f"{name}: {100 * difference:.1f} points"
    if difference > FINAL_ANY_POINTS:
        return verdict(found, WARN, f"{name} ends {100 * difference:.1f} points above its best iterates")
    return verdict(found, PASS, "final and any-iterate accuracy agree")


def loss_rises(evidence: Evidence) -> Verdict:
    verdict = unit(
        "loss_rises", "mean attack loss at the last iterate minus at the start", "> 0, else the attack does not climb"
    )
    climbs = [
        (trace["loss"][-1] - trace["loss"][0], evaluation)
        for evaluation, trace in evidence.traces()
        if evaluation.attack in evidence.attacks and len(trace.get("loss") or []) >= 2 and _climbs(evidence, evaluation)
    ]
    if not climbs:
        return verdict("", NOT_RUN, "no iterative attack left a trace of its loss")
    climb, evaluation = min(climbs, key=lambda item: item[0])
    found = f"{evaluation.attack} on task {evaluation.task} after task {evaluation.after_task}: {climb:+.3g}"
    if climb > 0:
        return verdict(found, PASS, "every iterative attack raised its loss")
    if np.isfinite(climb) and _at_chance(evidence, evaluation):
        return verdict(found, PASS, "the loss did not rise only where accuracy is at chance already")
    return verdict(found, WARN, f"the loss of {evaluation.attack} did not rise on task {evaluation.task}")


def converged(evidence: Evidence) -> Verdict:
    """The longest any-iterate attack against the longest one with at most half its steps at the same step size."""
    verdict = unit(
        "converged",
        "accuracy that at least a doubling of the steps still takes, any-iterate, best step size",
        f"<= {100 * CONVERGED_POINTS:g} points per doubling, else more steps would find less robustness",
    )
    drops = []
    ranked = [a for a in evidence.at_ranking_eps() if a.steps > 1 and a.any in evidence.outcomes.correct]
    longest = max((a.steps for a in ranked), default=0)
    for attack in (a for a in ranked if a.steps == longest):
        shorter = [
            a
            for a in ranked
            if (a.kind, a.step_size, a.loss, a.restarts)
            == (attack.kind, attack.step_size, attack.loss, attack.restarts)
            and 2 * a.steps <= attack.steps
        ]
        if shorter:
            half = max(shorter, key=lambda a: a.steps)
            before, after = evidence.after_last(half.any, attack.any)
            if len(before):
                doublings = np.log2(attack.steps / half.steps)
                drops.append((float((before.mean() - after.mean()) / doublings), attack.name))
    if not drops:
        return verdict("", NOT_RUN, "no attack was run with half its steps at the same step size")
    drop, name = min(drops)
    found = f"{name}: {100 * drop:.1f} points per doubling"
    if drop > CONVERGED_POINTS:
        return verdict(found, WARN, f"{name} still takes {100 * drop:.1f} points per doubling of its steps")
    return verdict(found, PASS, "more steps change little")


def gradients_carry_signal(evidence: Evidence) -> Verdict:
    """Share of gradient entries that are zero or not finite.

    A masked gradient is (almost) all zeros at the start already: above 0.9 the attack was blind, and its accuracy is
    not robustness. Dead inputs and saturated samples of honest networks stay far below 0.5. Where accuracy is at
    chance, a blind attack has nothing left to overestimate: a network that collapsed has no gradient, and no accuracy
    either.
    """
    verdict = unit(
        "gradients_carry_signal",
        "share of gradient entries that are zero or not finite, at the start (fail) and along the way (warn)",
        f"fail > {NO_SIGNAL_FAIL:g} at the start with accuracy above chance; warn > {NO_SIGNAL_WARN:g}, or not finite",
    )
    worst_start, worst_way, non_finite = (0.0, ""), (0.0, ""), ""
    seen = False
    for evaluation, trace in evidence.traces():
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
        return verdict("", NOT_RUN, "no attack left a trace of its gradients")
    found = f"start {worst_start[0]:.3g}, along the way {worst_way[0]:.3g}"
    if worst_start[0] > NO_SIGNAL_FAIL:
        return verdict(
            found, FAIL, f"{100 * worst_start[0]:.0f} % of the gradient is zero at the start: {worst_start[1]}"
        )
    if non_finite:
        return verdict(found, WARN, f"gradients that are not finite: {non_finite}")
    if worst_way[0] > NO_SIGNAL_WARN:
        return verdict(found, WARN, f"{100 * worst_way[0]:.0f} % of the gradient is zero: {worst_way[1]}")
    return verdict(found, PASS, "gradients carry a signal")


def _ladder(
    evidence: Evidence, group: Callable[[AttackFacts], tuple[Any, ...]], height: Callable[[AttackFacts], Any]
) -> list[tuple[str, str]]:
    """(stronger, weaker) names of neighbours that differ in `height` alone, among the iterative attacks."""
    groups: dict[tuple[Any, ...], list[AttackFacts]] = {}
    for attack in evidence.attacks.values():
        if attack.any in evidence.outcomes.correct:
            groups.setdefault(group(attack), []).append(attack)
    pairs = []
    for members in groups.values():
        members.sort(key=height)
        pairs += [(high.any, low.any) for low, high in pairwise(members) if height(low) < height(high)]
    return pairs


def _no_weaker(evidence: Evidence, pairs: Sequence[tuple[str, str]], check: str, measures: str) -> Verdict:
    """For (stronger, weaker) attacks: the stronger must not leave significantly more samples standing."""
    verdict = unit(check, measures, f"no significant excess: one-sided exact McNemar, p < {NOISE_LEVEL:g} fails")
    worst = None
    for stronger, weaker in pairs:
        standing, reference = evidence.after_last(stronger, weaker)
        if not len(standing):
            continue
        finding = (
            significantly_better(standing, reference),
            -float(standing.mean() - reference.mean()),
            stronger,
            weaker,
        )
        worst = finding if worst is None or finding < worst else worst
    if worst is None:
        return verdict("", NOT_RUN, "no such pair of attacks was run after the last task")
    p, excess, stronger, weaker = worst
    found = f"{stronger} minus {weaker}: {-100 * excess:+.1f} points, p = {p:.3g}"
    if p < NOISE_LEVEL:
        return verdict(found, FAIL, f"{stronger} leaves {-100 * excess:.1f} points more standing than {weaker}")
    return verdict(found, PASS, "no attack is weaker than it must be")


def _standing(evidence: Evidence, name: str) -> float:
    """Accuracy after the last task over all samples; infinite where nothing was measured."""
    outcomes, _ = evidence.after_last(name, name)
    return float(outcomes.mean()) if len(outcomes) else float("inf")


def _climbs(evidence: Evidence, evaluation: Any) -> bool:
    return evidence.attacks[evaluation.attack].steps > 1


def _at_chance(evidence: Evidence, evaluation: Any) -> bool:
    """Whether accuracy under the attack is at or below chance, within two standard errors."""
    return is_at_chance(evidence, evaluation.attack, int(evaluation.after_task), int(evaluation.task))
