"""Checks of attacks by each other: an attack that can do more must find at least as much.

`robust_below_clean`, `pgd_below_baselines`, `not_rising_with_steps`, `not_rising_with_eps`, `not_rising_with_restarts`,
`step_sizes_swept` and `final_close_to_any`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from reports.checks.check import FAIL, PASS, WARN, Judgement, Sample, check, named, not_run
from reports.numbers.attack_facts import TRANSFER, AttackFacts
from reports.numbers.evidence import Evidence
from reports.numbers.metrics import CLEAN
from reports.numbers.statistics.comparisons import significantly_better
from reports.numbers.wording import counted

NOISE_LEVEL = 0.01
"""Level of the one-sided tests between attacks. It is strict because attacks are nested: an honest excess is a few samples."""
FINAL_ANY_POINTS = 0.05
"""Accuracy, in [0, 1], by which the final iterate may be above any-iterate."""
STEP_SIZES = 3
NO_EXCESS = f"no significant excess: one-sided exact McNemar test, p < {NOISE_LEVEL:g} fails"
NESTED = (
    "The stronger attack could do all that the weaker one does, so an honest excess is a handful of samples by chance."
)


@check(
    question="Is no image classified better under attack than without one?",
    measures="samples right under attack (any-iterate) but wrong on the clean image",
    threshold=NO_EXCESS,
    why="The clean image lies in the ball, so the worst case cannot be better. If accuracy under attack is above clean accuracy, "
    "the two were taken on different inputs or networks.",
    planted="made-up records of such a row; the audit makes real ones by clamping in another space",
    source="Carlini et al. 2019",
)
def robust_below_clean(evidence: Evidence) -> Judgement:
    """Every attack but transfers: made on another classifier, they may turn a wrong answer of this one right."""
    attacks = [attack for attack in evidence.attacks.values() if attack.kind not in (CLEAN, TRANSFER)]
    return _no_weaker(evidence, [(evidence.strongest_name(attack), CLEAN) for attack in attacks])


@check(
    question="Does an attack of many steps find at least as much as one step or none?",
    measures="samples that FGSM or random noise breaks and the strongest PGD (any-iterate) at the same norm and eps does not",
    threshold=NO_EXCESS,
    why=NESTED
    + " The strongest PGD is taken because a sweep has honest members that are weaker: their steps are too small to cross the "
    "ball, or so large that they jump from corner to corner.",
    planted="PGD whose eps is wrong by a factor of 2 and more",
    source="Athalye et al. 2018",
)
def pgd_below_baselines(evidence: Evidence) -> Judgement:
    pairs = []
    for base in (a for a in evidence.attacks.values() if a.kind in ("fgsm", "noise")):
        same = [a for a in evidence.attacks.values() if a.kind == "pgd" and (a.norm, a.eps) == (base.norm, base.eps)]
        if same:
            strongest = min((evidence.strongest_name(a) for a in same), key=lambda name: _standing(evidence, name))
            pairs.append((strongest, evidence.strongest_name(base)))
    return _no_weaker(evidence, pairs)


@check(
    question="Do more steps find more?",
    measures="samples that fewer steps break and more steps of the same size (any-iterate) do not",
    threshold=NO_EXCESS,
    why="Any-iterate outcomes of one trajectory are nested by construction, so an excess means that the two are not of one "
    "trajectory.",
    planted="made-up records in which more steps find less",
    source="Carlini et al. 2019",
)
def not_rising_with_steps(evidence: Evidence) -> Judgement:
    return _no_weaker(evidence, _ladder(evidence, "steps"))


@check(
    question="Does a larger ball find more?",
    measures="samples that a smaller eps breaks and a larger one, with the step size in proportion, does not (any-iterate)",
    threshold=NO_EXCESS,
    why="The smaller ball lies in the larger one.",
    planted="made-up records in which a larger eps finds less",
    source="Athalye et al. 2018",
)
def not_rising_with_eps(evidence: Evidence) -> Judgement:
    return _no_weaker(evidence, _ladder(evidence, "eps"))


@check(
    question="Do more restarts find more?",
    measures="samples that fewer restarts break and more restarts do not",
    threshold=NO_EXCESS,
    why="The first restarts are the same, so the others can only add.",
    planted="made-up records in which more restarts find less",
    source="Carlini et al. 2019",
)
def not_rising_with_restarts(evidence: Evidence) -> Judgement:
    return _no_weaker(evidence, _ladder(evidence, "restarts", any_alone=False))


@check(
    question="Were several step sizes tried, so that the worst of them counts?",
    measures="step sizes of PGD at the ranking's norm and eps",
    threshold=f">= {STEP_SIZES}, else warn",
    why="A step size that suits one network is too small or too large for another. A report of one member of a sweep finds "
    "robustness that is not there. `worst` is taken per sample over all of them.",
    planted="protocols with one step size",
    source="Croce & Hein 2020",
)
def step_sizes_swept(evidence: Evidence) -> Judgement:
    sizes = {a.step_in_eps for a in evidence.at_ranking_eps() if a.kind == "pgd" and a.step_in_eps is not None}
    # APGD adapts its step size, alone and inside AutoAttack.
    adaptive = [
        a.name for a in evidence.at_ranking_eps() if a.kind in ("apgd", "autoattack", "autoattack-c2", "autoattack-c3")
    ]
    if not sizes and not adaptive:
        return not_run("no PGD was run at the ranking's norm and eps")
    found = f"{len(sizes)} step sizes{f', and {adaptive[0]}, which adapts it' if adaptive else ''}"
    if len(sizes) < STEP_SIZES and not adaptive:
        return Judgement(WARN, found, f"PGD was run with only {counted(len(sizes), 'step size')}")
    return Judgement(PASS, found, "worst is taken over a sweep of step sizes")


@check(
    question="Does the attack keep what it found?",
    measures="accuracy at the final iterate minus any-iterate, after the last task, at the ranking's eps",
    threshold=f"<= {100 * FINAL_ANY_POINTS:g} points, else warn",
    why="An attack that walks away from images that it had broken is badly tuned, and its final iterate overestimates "
    "robustness. Any-iterate counts. Steps of a whole eps or more do this to every network and are left out.",
    planted="noise added to the input (it warns)",
    source="Pintor et al. 2022",
)
def final_close_to_any(evidence: Evidence) -> Judgement:
    differences = []
    for attack in evidence.at_ranking_eps():
        if attack.any in evidence.outcomes.correct and (attack.step_in_eps or 0) < 1:
            final, any_ = evidence.after_last(attack.name, attack.any)
            if len(final):
                differences.append((float(final.mean() - any_.mean()), attack.name))
    if not differences:
        return not_run("no attack has any-iterate outcomes after the last task")
    difference, name = max(differences)
    found = f"{name}: {100 * difference:.1f} points"
    if difference > FINAL_ANY_POINTS:
        return Judgement(WARN, found, f"{name} ends {100 * difference:.1f} points above its best iterates")
    return Judgement(PASS, found, "final and any-iterate accuracy agree")


def _ladder(evidence: Evidence, rung: str, any_alone: bool = True) -> list[tuple[str, str]]:
    """The names (stronger, weaker) of neighbours that differ in `rung`, a field of the specification, and in nothing else.

    any_alone: True for attacks whose any-iterate outcome is stored alone, False for the strongest outcome of every attack.
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


def _no_weaker(evidence: Evidence, pairs: Sequence[tuple[str, str]]) -> Judgement:
    """Judge pairs (stronger, weaker): the stronger attack must not leave significantly more samples standing."""
    worst: tuple[float, float, str, str] | None = None
    for stronger, weaker in pairs:
        standing, reference = evidence.after_last(stronger, weaker)
        if not len(standing):
            continue
        excess = float(standing.mean() - reference.mean())
        compared = (significantly_better(standing, reference), -excess, stronger, weaker)
        worst = compared if worst is None or compared < worst else worst
    if worst is None:
        return not_run("no such pair of attacks was run after the last task")
    p, excess, stronger, weaker = worst
    found = f"{stronger} minus {weaker}: {-100 * excess:+.1f} points, p = {p:.3g}"
    if p < NOISE_LEVEL:
        reason = f"{stronger} leaves {-100 * excess:.1f} points more standing than {weaker}"
        show = standing_under(evidence, stronger, weaker)
        return Judgement(FAIL, found, reason + named(show), tuple(show))
    return Judgement(PASS, found, "no attack is weaker than it must be")


def standing_under(evidence: Evidence, stronger: str, weaker: str) -> list[Sample]:
    """The samples that are right under the first attack and wrong under the second."""
    (first, second), ids = evidence.standing_by_sample([stronger], [weaker])
    return samples_at(ids, first & ~second)


def samples_at(ids: np.ndarray, chosen: np.ndarray) -> list[Sample]:
    """The chosen rows of ids, int64 (n, 2), as (task, sample); chosen: bool (n,)."""
    return [(int(task), int(sample)) for task, sample in ids[chosen]]


def _standing(evidence: Evidence, name: str) -> float:
    """The accuracy after the last task over all covered samples; infinite if there are none."""
    outcomes, _ = evidence.after_last(name, name)
    return float(outcomes.mean()) if len(outcomes) else float("inf")
