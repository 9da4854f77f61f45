"""Checks by extra attacks: they are run on a subset, and judge the attacks that numbers are made of.

`eps_zero`, `unbounded` and `rescaled_logits`.

Their outcomes are stored like all others, under names that `Protocol.checks` lists.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np

from attacks.fractions import LARGEST_EPS
from reports.checks.attacks import NOISE_LEVEL, samples_at, standing_under
from reports.checks.check import (
    FAIL,
    FINAL,
    NOT_RECORDED_YET,
    PASS,
    WARN,
    Judgement,
    Sample,
    check,
    errors,
    named,
    not_run,
)
from reports.checks.control import claims_something
from reports.numbers.attack_facts import AttackFacts
from reports.numbers.evidence import Evidence
from reports.numbers.metrics import CLEAN, WORST
from reports.numbers.statistics.comparisons import significantly_better
from reports.numbers.wording import fraction
from results.schema import SAFE_MARGIN

LEFT_BY_UNBOUNDED = 0.1
"""Accuracy that an unbounded attack may leave. Honest networks keep nothing at all."""


def _extra(evidence: Evidence, chosen: Callable[[AttackFacts], bool]) -> list[AttackFacts]:
    """The extra attacks, of those chosen, that cover some sample after the last task."""
    attacks = [a for a in evidence.extra_attacks.values() if chosen(a)]
    return [a for a in attacks if len(evidence.standing([a.name])[0])]


@check(
    question="Does an attack that may change nothing change nothing?",
    measures="samples whose predicted class under PGD with eps = 0 is not that of the clean image, rounding aside",
    threshold="none",
    why="The whole machinery of an attack runs on the clean image. A difference comes from randomness, from state, or from "
    "another input than the named one.",
    planted="noise added to the input (sigma eps)",
    source="Carlini et al. 2019",
)
def eps_zero(evidence: Evidence) -> Judgement:
    zero = _extra(evidence, lambda attack: attack.kind == "pgd" and attack.eps == 0)
    if not zero:
        return not_run(NOT_RECORDED_YET)
    changed: list[Sample] = []
    count = 0
    for task in range(evidence.outcomes.tasks):
        clean, other = (evidence.outcomes.final.get(name, {}).get(task) for name in (CLEAN, zero[0].name))
        if clean is None or other is None:
            continue
        both = (clean.predicted >= 0) & (other.predicted >= 0)
        count += int(both.sum())
        apart = both & (clean.predicted != other.predicted)
        # Rounding may decide between classes of equal logits.
        sure = np.maximum(np.abs(clean.margin), np.abs(other.margin)) > SAFE_MARGIN
        changed += [(task, int(sample)) for sample in evidence.outcomes.samples[task][apart & sure]]
    found = f"{len(changed)} of {count} samples"
    if changed:
        told = f"{len(changed)} of {count} predictions change under an attack that may change nothing{named(changed)}"
        return Judgement(FAIL, found, told, tuple(changed))
    return Judgement(PASS, found, "an attack of eps 0 finds the clean predictions")


@check(
    question="Does an attack that may change everything win?",
    measures="accuracy under PGD (any-iterate) that starts at the image, with eps = 1 and the step size in proportion, over "
    "all tasks and on the worst one",
    threshold="fail above chance by two standard errors over all tasks, or by four on one task; warn above "
    f"{100 * LEFT_BY_UNBOUNDED:g} % if the row reports an accuracy above chance",
    why="With eps = 1 every image can become any other, so a working attack drives accuracy to nothing. An image that stands "
    "has no gradient to follow, and the reported robustness is the attack's blindness. The attack starts at the image itself, "
    "because a random image is wrong by chance.",
    planted="logits x1000, x100, x30 and x10; logits and inputs rounded; gradients cut by a detach",
    source="Carlini et al. 2019; Athalye et al. 2018",
    cost=FINAL,
)
def unbounded(evidence: Evidence) -> Judgement:
    whole = _extra(evidence, lambda attack: attack.kind == "pgd" and attack.eps == LARGEST_EPS.get(attack.norm))
    if not whole:
        return not_run(NOT_RECORDED_YET)
    attack = evidence.strongest_name(whole[0])
    (standing,), ids = evidence.standing_by_sample([attack])
    if not len(standing):
        return not_run("no sample was attacked")
    show = samples_at(ids, standing)
    by_task = {int(task): evidence.chance(int(task), attack) for task in np.unique(ids[:, 0])}
    chances = np.array([by_task[int(task)] for task in ids[:, 0]])
    excess = float(standing.mean() - chances.mean()) - errors(float(chances.mean()), len(standing))
    words = [f"{100 * standing.mean():.1f} % of {len(standing)} samples"]
    alone = []
    for task, chance in by_task.items():
        mine = standing[ids[:, 0] == task]
        alone.append((float(mine.mean()) - chance - errors(chance, len(mine), 4), float(mine.mean()), task))
    beyond, accuracy, task = max(alone)
    words.append(f"task {task}: {100 * accuracy:.1f} %")
    found = ", ".join(words)
    if excess > 0 or beyond > 0:
        told = f"an attack with eps = 1 leaves {found}, above chance: it has no gradient to follow"
        return Judgement(FAIL, found, told, tuple(show))
    if float(standing.mean()) > LEFT_BY_UNBOUNDED and claims_something(evidence):
        told = f"an attack with eps = 1 leaves {found}, where honest networks keep none"
        return Judgement(WARN, found, told, tuple(show))
    return Judgement(PASS, found, "an attack with eps = 1 leaves next to nothing")


@check(
    question="Would the attack find more if the logits had another scale?",
    measures="samples that stand under every attack of the row and fall when PGD sees the logits x0.01 (older records: other "
    "factors too), against samples that fall the other way",
    threshold=f"no significant excess: one-sided exact McNemar test, p < {NOISE_LEVEL:g} fails, for the best factor",
    why="The scale of the logits changes no prediction. It changes the gradient if float32 saturates, or if probabilities stand "
    "for logits. The test is one-sided because a confident honest network may look better under x100. That and other factors are "
    "not tried: on the planted logits they found no more than the preset's attacks.",
    planted="logits x1000, x100 and x30 (other checks find x10; softmax times 5 and mixtures gain nothing on two classes)",
    source="Carlini & Wagner 2017; Croce & Hein 2020",
    cost=FINAL,
)
def rescaled_logits(evidence: Evidence) -> Judgement:
    scaled = _extra(evidence, lambda attack: attack.kind == "rescaled" and attack.threat == evidence.ranking)
    if not scaled:
        return not_run(NOT_RECORDED_YET)
    if WORST not in evidence.outcomes.correct:
        return not_run("there is no reported accuracy to compare with")
    by_scale: list[tuple[float, float, str, str, float, float]] = []
    for attack in scaled:
        name = evidence.strongest_name(attack)
        reported, rescaled = evidence.after_last(WORST, name)
        factor = fraction(json.loads(dict(attack.rest)["scale"]))
        if len(reported) and factor is not None:
            p = significantly_better(reported, rescaled)
            drop = float(reported.mean() - rescaled.mean())
            by_scale.append((p, -drop, f"x{float(factor):g}", name, float(reported.mean()), float(rescaled.mean())))
    if not by_scale:
        return not_run("no sample was attacked both with rescaled logits and by every other attack")
    p, _, scale, name, before, after = min(by_scale)
    found = f"{scale}: {100 * after:.1f} % against {100 * before:.1f} % reported, p = {p:.3g}"
    if p < NOISE_LEVEL:
        show = standing_under(evidence, WORST, name)
        told = f"with logits {scale} PGD leaves {100 * after:.1f} % of the samples, where the row reports {100 * before:.1f} %"
        return Judgement(FAIL, found, told + named(show), tuple(show))
    return Judgement(PASS, found, "no scale of the logits makes the attack clearly stronger")
