"""Checks of the attacks: a weak or blind attack reports robustness that is not there."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from reports.checks import FAIL, NOT_RUN, PASS, WARN, Verdict, is_at_chance, unit
from reports.evidence import COMPOSITIONS, TRANSFER, AttackFacts, Evidence
from reports.metrics import CLEAN
from reports.statistics import significantly_better

NOISE_LEVEL = 0.01
"""Level of the one-sided tests between attacks: they are nested, so an honest excess is a handful of samples at most."""
FINAL_ANY_POINTS = 0.05
CONVERGED_POINTS = 0.02
NO_SIGNAL_FAIL = 0.9
NO_SIGNAL_WARN = 0.5
BLACK_BOX_SHARE, BLACK_BOX_SAMPLES = 0.02, 2
"""Up to so many samples may fall to a black box alone: white-box attacks of finite length leave a few that luck finds."""

SQUARE = "square"
BLIND = {"Square", "OnePixel", "Pixle"}
"""Black boxes of torchattacks."""
NO_GRADIENT = {*BLIND, "AutoAttack", "VANILA", "GN"}
"""Attacks of torchattacks that are no white box alone."""


def robust_below_clean(evidence: Evidence) -> Verdict:
    """Any attack but a transfer: made on another classifier, it may well turn a wrong answer of this one right."""
    attacks = [attack for attack in evidence.attacks.values() if attack.kind not in (CLEAN, TRANSFER)]
    pairs = [(evidence.strongest_name(attack), CLEAN) for attack in attacks]
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
    return _no_weaker(
        evidence,
        _ladder(evidence, "steps"),
        "not_rising_with_steps",
        "samples that fewer steps break and more steps of the same size do not",
    )


def not_rising_with_eps(evidence: Evidence) -> Verdict:
    """A larger ball, with the step size in proportion, breaks no fewer samples, any-iterate."""
    return _no_weaker(
        evidence,
        _ladder(evidence, "eps"),
        "not_rising_with_eps",
        "samples that a smaller eps breaks and a larger one does not",
    )


def not_rising_with_restarts(evidence: Evidence) -> Verdict:
    """More restarts break no fewer samples: the first restarts are the same."""
    return _no_weaker(
        evidence,
        _ladder(evidence, "restarts", any_alone=False),
        "not_rising_with_restarts",
        "samples that fewer restarts break and more restarts do not",
    )


def final_close_to_any(evidence: Evidence) -> Verdict:
    verdict = unit(
        "final_close_to_any",
        "accuracy at the final iterate minus any-iterate, after the last task, at the ranking's eps",
        f"<= {100 * FINAL_ANY_POINTS:g} points, else the attack loses samples it had broken: report any-iterate",
    )
    differences = []
    for attack in evidence.at_ranking_eps():
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
        alike = [a for a in ranked if a.apart_from("steps") == attack.apart_from("steps")]
        shorter = [a for a in alike if 2 * a.steps <= attack.steps]
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


def settings(evidence: Evidence) -> Verdict:
    """What the attacks said of their own settings, such as a step size of 0: allowed, but hardly meant."""
    verdict = unit("settings", "warnings of the demanded attacks about their own settings", "none")
    said: dict[str, None] = {}
    traced = 0
    for evaluation, trace in evidence.traces():
        if evaluation.attack in evidence.attacks:
            traced += 1
            warnings = trace.get("warnings")
            for warning in warnings if isinstance(warnings, list) else []:
                said[f"{evaluation.attack}: {warning}"] = None
    if not traced:
        return verdict("", NOT_RUN, "no attack left a trace")
    if said:
        more = f" and {len(said) - 1} more" if len(said) > 1 else ""
        return verdict(f"{len(said)} warning{'s' if len(said) > 1 else ''}", WARN, min(said) + more)
    return verdict("0 warnings", PASS, "no attack warned of its settings")


def black_box_below_white_box(evidence: Evidence) -> Verdict:
    """Without gradients nothing is found that gradients miss, at the ranking's norm and eps; else they are masked.

    Black boxes: Square, alone or as a part of a composition such as AutoAttack, which records what stands before and after
    it; and transfers. Alone, they are held to all white-box attacks together, and flagged too where they are
    significantly stronger as a whole. Croce & Hein 2020; Tramèr et al. 2020.
    """
    verdict = unit(
        "black_box_below_white_box",
        "samples that a black-box attack or a transfer breaks and no white-box attack does",
        f"<= {100 * BLACK_BOX_SHARE:g} % of the samples, or {BLACK_BOX_SAMPLES}, and the black box is not significantly "
        f"stronger (p < {NOISE_LEVEL:g}): else gradients hide what is there",
    )
    findings = [*_black_boxes_alone(evidence), *_black_boxes_in_compositions(evidence)]
    if not findings:
        return verdict("", NOT_RUN, "no black-box attack or transfer was run after the last task")
    too_many, _, broken, samples, name = max(findings)
    found = f"{name}: {broken} of {samples} samples"
    if too_many:
        return verdict(found, WARN, f"{name} breaks {broken} of {samples} samples that no white-box attack breaks")
    return verdict(found, PASS, "black-box attacks find nothing that gradients miss")


BlackBox = tuple[bool, float, int, int, str]
"""Whether it breaks too many, how many margins they are, how many they are, of how many samples, and what it is."""


def _black_box(broken: int, samples: int, name: str, is_stronger: bool = False) -> BlackBox:
    margin = max(BLACK_BOX_SAMPLES, BLACK_BOX_SHARE * samples)
    return is_stronger or broken > margin, broken / margin, broken, samples, name


def _black_boxes_alone(evidence: Evidence) -> list[BlackBox]:
    here = [a for a in evidence.attacks.values() if a.threat == evidence.ranking]
    white = [evidence.strongest_name(a) for a in here if _is_white_box(a)]
    findings = []
    for attack in here:
        if white and (attack.kind in (SQUARE, TRANSFER) or _of_torchattacks(attack) in BLIND):
            by_white, by_black = evidence.standing(white, [evidence.strongest_name(attack)])
            if len(by_white):
                is_stronger = significantly_better(by_white, by_black) < NOISE_LEVEL
                broken = int((by_white & ~by_black).sum())
                findings.append(_black_box(broken, len(by_white), attack.name, is_stronger))
    return findings


def _is_white_box(attack: AttackFacts) -> bool:
    """Whether the attack follows gradients and does nothing else; attacks of plug-ins are taken to."""
    if attack.kind in (CLEAN, "noise", SQUARE, TRANSFER, *COMPOSITIONS):
        return False
    return _of_torchattacks(attack) not in NO_GRADIENT


def _of_torchattacks(attack: AttackFacts) -> str | None:
    """Which attack of torchattacks it is; None for our own."""
    algorithm = dict(attack.rest).get("algorithm")
    return algorithm.strip('"') if attack.kind == "torchattacks" and algorithm else None


def _black_boxes_in_compositions(evidence: Evidence) -> list[BlackBox]:
    """What Square broke of what the parts before it left, summed over tasks."""
    broken: dict[str, int] = {}
    samples: dict[str, int] = {}
    for evaluation, trace in evidence.traces():
        attack = evidence.attacks.get(evaluation.attack)
        standing = trace.get("standing")
        if attack is None or attack.threat != evidence.ranking or evaluation.after_task != evidence.outcomes.last:
            continue
        if not isinstance(standing, dict):
            continue
        for before, after in pairwise(standing):
            if after.split(" ")[0] == SQUARE:
                name = f"{after} in {attack.name}"
                broken[name] = broken.get(name, 0) + int(standing[before] - standing[after])
                samples[name] = samples.get(name, 0) + (0 if np.isnan(evaluation.samples) else int(evaluation.samples))
    return [_black_box(broken[name], samples[name], name) for name in broken]


def _ladder(evidence: Evidence, rung: str, any_alone: bool = True) -> list[tuple[str, str]]:
    """(stronger, weaker) names of neighbours that differ in `rung`, a field of the specification, and in nothing else.

    any_alone: only attacks whose any-iterate outcome is stored, else the strongest of any attack.
    """
    groups: dict[tuple[Any, ...], list[AttackFacts]] = {}
    for attack in evidence.attacks.values():
        if attack.any in evidence.outcomes.correct or not any_alone:
            groups.setdefault(attack.apart_from(rung), []).append(attack)
    pairs = []
    for members in groups.values():
        members.sort(key=lambda attack: getattr(attack, rung) or 0)
        pairs += [
            (evidence.strongest_name(high), evidence.strongest_name(low))
            for low, high in pairwise(members)
            if (getattr(low, rung) or 0) < (getattr(high, rung) or 0)
        ]
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
    """Whether the trace is of the same samples at every step. Searches drop what they broke: what is left has small losses."""
    attack = evidence.attacks[evaluation.attack]
    return attack.steps > 1 and attack.any in evidence.outcomes.correct


def _at_chance(evidence: Evidence, evaluation: Any) -> bool:
    """Whether accuracy under the attack is at or below chance, within two standard errors."""
    return is_at_chance(evidence, evaluation.attack, int(evaluation.after_task), int(evaluation.task))
