"""Outcomes of attacks that cover a part of the samples, in the worst case of a run: what they broke counts from then on.

Submitted adversarial images are one kind, extra attacks that any attacker could have used the other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import numpy as np

from reports.numbers.attack_facts import SUBMITTED, AttackFacts, Threat
from reports.numbers.metrics import CLEAN, WORST, add_worst
from reports.numbers.outcomes import NOT_MEASURED, Final, Outcomes


def submissions(known: Mapping[str, AttackFacts], threats: Collection[Threat]) -> dict[str, AttackFacts]:
    """The submissions among the stored attacks, by name, at a norm and eps that the preset attacks too."""
    return {name: attack for name, attack in known.items() if attack.kind == SUBMITTED and attack.threat in threats}


def with_unchanged_images(outcomes: Outcomes, names: Iterable[str]) -> Outcomes:
    """Outcomes in which each of these attacks covers, after the last task, all samples that `clean` covers.

    A submission is of one task. For an image that nobody submitted the unchanged one counts, which is in the ball too.
    """
    return _filled(outcomes, names, CLEAN)


def with_found(outcomes: Outcomes, names: Iterable[str]) -> Outcomes:
    """Outcomes in which samples that one of these attacks broke after the last task are broken in `worst` too.

    A sample that an attack does not cover stays as it is, and so does everything if there is no `worst`.
    """
    names = [name for name in names if name in outcomes.correct]
    if WORST not in outcomes.correct or not names:
        return outcomes
    filled = add_worst(_filled(outcomes, names, WORST), [WORST, *names], WORST)
    return outcomes.with_attack(WORST, filled.correct[WORST], filled.final[WORST])


def _filled(outcomes: Outcomes, names: Iterable[str], source: str) -> Outcomes:
    """Outcomes in which each of these attacks has the outcome of `source` for samples that it does not cover."""
    for name in names:
        correct, final = dict(outcomes.correct.get(name, {})), dict(outcomes.final.get(name, {}))
        for task in range(outcomes.tasks):
            mine, others = (outcomes.vector(attack, outcomes.last, task) for attack in (name, source))
            not_covered = mine == NOT_MEASURED
            theirs = outcomes.final.get(source, {}).get(task)
            if theirs is None or not not_covered.any():
                continue
            own = final.get(task, theirs)
            correct[outcomes.last, task] = np.where(not_covered, others, mine)
            final[task] = Final(
                np.where(not_covered, theirs.predicted, own.predicted),
                np.where(not_covered, theirs.margin, own.margin),
            )
        outcomes = outcomes.with_attack(name, correct, final)
    return outcomes
