"""Checks by attacks that need no gradient of the network, or no face of the ball, in all that they find.

`inside_below_white_box`, `distilled_below_white_box`, `black_box_below_white_box` and `transfer_below_white_box`. If such attacks
find more than gradients do, the gradients are masked, or the classifier knows an attack by its size. `float32_below_fast` asks
the same of an attack in float32, where the others walk in a lower precision.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import stats

from reports.checks.attacks import NOISE_LEVEL, samples_at
from reports.checks.check import (
    DEEP,
    FAIL,
    FINAL,
    NOT_RECORDED_YET,
    PASS,
    WARN,
    Judgement,
    Sample,
    check,
    named,
    not_run,
)
from reports.numbers.attack_facts import COMPOSITIONS, FLOAT32, SUBMITTED, TRANSFER, AttackFacts
from reports.numbers.evidence import Evidence
from reports.numbers.metrics import CLEAN
from reports.numbers.statistics.comparisons import significantly_better

ALLOWED_SHARE, ALLOWED_SAMPLES = 0.02, 2
"""The share, and the least number, of samples that may fall to a black box alone: luck finds a few that finite attacks leave."""

CERTAIN_SAMPLES = 7
"""The least number of samples by which one attack can be stronger than others at `NOISE_LEVEL`: 1 / 2**7 is below it."""

SQUARE, INSIDE, DISTILLED = "square", "inside", "distilled"
BLIND = {"Square", "OnePixel", "Pixle"}
"""Black boxes of torchattacks."""
NOT_WHITE_BOX = {*BLIND, "AutoAttack", "VANILA", "GN"}
"""Attacks of torchattacks that follow no gradient, or (AutoAttack) run a black box too."""
THRESHOLD = (
    f"warn above {100 * ALLOWED_SHARE:g} % of the samples (or {ALLOWED_SAMPLES}); fail if they are "
    f"{CERTAIN_SAMPLES} or more and above what luck at that share explains (one-sided exact binomial test, p < {NOISE_LEVEL:g}), "
    f"or if it is significantly stronger than all white-box attacks together (one-sided exact McNemar test, p < {NOISE_LEVEL:g})"
)


@check(
    question="Do points inside the ball stand where points on its faces do?",
    measures="samples that a short walk and points at 50 to 99 % of the way that it went, and around, break and no white-box "
    "attack does",
    threshold=THRESHOLD,
    why="A classifier that is robust in a ball is so inside it. Gradient attacks end on the faces, where every pixel has changed "
    "by exactly eps: a classifier that looks for such changes undoes them and no smaller ones. Finite attacks leave a few "
    "samples, so that honest networks lose some too.",
    planted="purifiers that undo changes of size eps, and pass the gradient on as if they were not there",
    source="Athalye et al. 2018; Tramèr et al. 2020",
    cost=FINAL,
)
def inside_below_white_box(evidence: Evidence) -> Judgement:
    return _judge_strongest(_alone(evidence, lambda attack: attack.kind == INSIDE), NOT_RECORDED_YET)


@check(
    question="Do gradients find all that a student of the classifier's answers finds?",
    measures="samples that PGD on a student, which learned the classifier's answers around the images, breaks and no white-box "
    "attack does",
    threshold=THRESHOLD,
    why="A student knows a few answers and no gradient. If what fools the student fools the classifier, where the classifier's "
    "own gradient finds nothing, that gradient is another function's.",
    planted="gradients cut in the network, gradients of another network, blurred inputs with the gradient of sharp ones",
    source="Papernot et al. 2017; Athalye et al. 2018",
    cost=FINAL,
)
def distilled_below_white_box(evidence: Evidence) -> Judgement:
    return _judge_strongest(_alone(evidence, lambda attack: attack.kind == DISTILLED), NOT_RECORDED_YET)


@check(
    question="Do gradients find all that an attack without gradients finds?",
    measures="samples that Square (alone, or within AutoAttack) or another black box breaks and no white-box attack does",
    threshold=THRESHOLD,
    why="A white box knows gradients in addition. If a black box finds more, the gradients are masked. A few lucky finds are no "
    "evidence.",
    planted="made-up records in which Square breaks what stands",
    source="Croce & Hein 2020; Tramèr et al. 2020",
    cost=FINAL,
)
def black_box_below_white_box(evidence: Evidence) -> Judgement:
    alone = _alone(evidence, lambda attack: attack.kind == SQUARE or _of_torchattacks(attack) in BLIND)
    return _judge_strongest([*alone, *_in_compositions(evidence)], "no black-box attack was run after the last task")


@check(
    question="Are attacks made on other networks no stronger than those made on this one?",
    measures="samples that a transfer (from the undefended network, a sibling, or the same method after an earlier task) "
    "breaks and no white-box attack does",
    threshold=THRESHOLD,
    why="An attacker who sees the network itself can do all that the others can. The check needs other runs, and a row without "
    "them does not fail.",
    planted="made-up records in which a transfer breaks what stands",
    source="Athalye et al. 2018; Papernot et al. 2017",
    cost=DEEP,
)
def transfer_below_white_box(evidence: Evidence) -> Judgement:
    return _judge_strongest(
        _alone(evidence, lambda attack: attack.kind == TRANSFER), "no transfer was run after the last task"
    )


@check(
    question="Do attacks in low precision find all that one in float32 finds?",
    measures="samples that the preset's longest PGD, walking in float32, breaks and no attack of the preset (compositions "
    "included) does in lower precision",
    threshold=THRESHOLD.replace("all white-box attacks", "all of those"),
    why="What is broken is said by the float32 network in any case. What lower precision may cost is the way there: rounded "
    "gradients, or a classifier that computes otherwise when it is asked in low precision. On honest networks the two find the "
    "same images but for a few.",
    planted="made-up records in which float32 breaks what stands; a gradient that points away in low precision",
    source="Athalye et al. 2018",
    cost=FINAL,
)
def float32_below_fast(evidence: Evidence) -> Judgement:
    if set(evidence.evaluations["precision"].dropna()) <= {"fp32"}:
        return not_run("all attacks walk in float32")
    if not any(attack.kind == FLOAT32 for attack in [*evidence.attacks.values(), *evidence.extra_attacks.values()]):
        return not_run(NOT_RECORDED_YET)
    alone = _alone(evidence, lambda attack: attack.kind == FLOAT32, rivals=_may_walk)
    return _judge_strongest(
        alone, "no attack of the preset at its eps walks in lower precision", "attack of the preset"
    )


@dataclass(frozen=True, order=True)
class BlackBox:
    """The samples that a black box alone broke. Black boxes are ordered by their strength, field by field.

    stronger: True if it breaks alone more than luck explains, or is significantly stronger than all white-box attacks together.
    of_allowed: `broken` divided by the number that is allowed.
    broken: number of samples that it broke and no white-box attack did.
    samples: number of samples that it and the white-box attacks were run on.
    name: of the attack; of a part of a composition with the composition's name after it.
    show: the broken samples; empty if they are not known, as for a part of a composition.
    """

    stronger: bool
    of_allowed: float
    broken: int
    samples: int
    name: str
    show: tuple[Sample, ...] = ()


def _judge_strongest(black_boxes: list[BlackBox], reason: str, rivals: str = "white-box attack") -> Judgement:
    """Judge the strongest black box.

    reason: why the check is not run if there is none.
    rivals: one of the attacks that it was compared with, in words.
    """
    if not black_boxes:
        return not_run(reason)
    strongest = max(black_boxes)
    broken = f"{strongest.broken} of {strongest.samples} samples"
    found = f"{strongest.name}: {broken}"
    if strongest.stronger or strongest.of_allowed > 1:
        told = f"{strongest.name} breaks {broken} that no {rivals} breaks{named(strongest.show)}"
        return Judgement(FAIL if strongest.stronger else WARN, found, told, strongest.show)
    return Judgement(PASS, found, "gradients find what the others find", strongest.show)


def _alone(
    evidence: Evidence, chosen: Callable[[AttackFacts], bool], rivals: Callable[[AttackFacts], bool] | None = None
) -> list[BlackBox]:
    """The black boxes among the chosen attacks at the ranking's norm and eps.

    rivals: the attacks of the preset that they are compared with; None: white boxes.
    """
    here = [a for a in [*evidence.attacks.values(), *evidence.extra_attacks.values()] if a.threat == evidence.ranking]
    white = _rivals(evidence, rivals or _is_white_box)
    black_boxes = []
    for attack in here:
        if not white or not chosen(attack):
            continue
        (by_white, by_black), ids = evidence.standing_by_sample(white, [evidence.strongest_name(attack)])
        if len(by_white):
            show = samples_at(ids, by_white & ~by_black)
            is_stronger = (
                _beyond_luck(len(show), len(by_white)) or significantly_better(by_white, by_black) < NOISE_LEVEL
            )
            allowed = max(ALLOWED_SAMPLES, ALLOWED_SHARE * len(by_white))
            found = BlackBox(is_stronger, len(show) / allowed, len(show), len(by_white), attack.name, tuple(show))
            black_boxes.append(found)
    return black_boxes


def _rivals(evidence: Evidence, chosen: Callable[[AttackFacts], bool]) -> list[str]:
    """The outcomes of the preset's attacks at the ranking's norm and eps that a black box is compared with."""
    return [
        evidence.strongest_name(attack)
        for attack in evidence.attacks.values()
        if attack.threat == evidence.ranking and chosen(attack)
    ]


def _beyond_luck(broken: int, samples: int) -> bool:
    """True if more samples fell to a black box alone than luck explains."""
    luck = stats.binomtest(broken, samples, ALLOWED_SHARE, alternative="greater").pvalue
    return broken >= CERTAIN_SAMPLES and luck < NOISE_LEVEL


def _is_white_box(attack: AttackFacts) -> bool:
    """True if the attack follows gradients and does nothing else. Attacks of plug-ins are taken to do so."""
    if attack.kind in (CLEAN, "noise", SQUARE, INSIDE, DISTILLED, FLOAT32, TRANSFER, SUBMITTED, *COMPOSITIONS):
        return False
    return _of_torchattacks(attack) not in NOT_WHITE_BOX


def _may_walk(attack: AttackFacts) -> bool:
    """True if the attack may walk in lower precision. What a composition finds there, by whichever part, was not lost."""
    return _is_white_box(attack) or attack.kind in (SQUARE, *COMPOSITIONS)


def _of_torchattacks(attack: AttackFacts) -> str | None:
    """The name of an attack of torchattacks; None for other attacks."""
    algorithm = dict(attack.rest).get("algorithm")
    return algorithm.strip('"') if attack.kind == "torchattacks" and algorithm else None


def _in_compositions(evidence: Evidence) -> list[BlackBox]:
    """Square inside compositions: the samples that it broke of those that the parts before it left, summed over tasks.

    Which these are is not stored, and other white boxes of the preset may have broken them. Square is stronger than luck explains
    only if these leave so many too that the composition breaks.
    """
    broken: dict[str, int] = {}
    samples: dict[str, int] = {}
    past_white: dict[str, int] = {}
    for evaluation, trace in evidence.traces:
        attack = evidence.attacks.get(evaluation.attack)
        standing = trace.get("standing")
        if attack is None or attack.threat != evidence.ranking or evaluation.after_task != evidence.outcomes.last:
            continue
        if not isinstance(standing, dict):
            continue
        for before, after in pairwise(standing):
            if after.split(" ")[0] == SQUARE:
                name = f"{after} in {attack.name}"
                if name not in past_white:
                    past_white[name] = _past_white_boxes(evidence, attack)
                broken[name] = broken.get(name, 0) + int(standing[before] - standing[after])
                samples[name] = samples.get(name, 0) + (0 if np.isnan(evaluation.samples) else int(evaluation.samples))
    return [
        BlackBox(
            samples[name] > 0 and _beyond_luck(min(count, past_white[name]), samples[name]),
            count / max(ALLOWED_SAMPLES, ALLOWED_SHARE * samples[name]),
            count,
            samples[name],
            name,
        )
        for name, count in broken.items()
    ]


def _past_white_boxes(evidence: Evidence, composition: AttackFacts) -> int:
    """The number of samples that a composition breaks and no white box of the preset does; all that it breaks without such."""
    white = _rivals(evidence, _is_white_box) or [CLEAN]
    by_white, by_composition = evidence.standing(white, [evidence.strongest_name(composition)])
    return int((by_white & ~by_composition).sum())
