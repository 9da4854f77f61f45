"""Submitted adversarial images in the outcomes of a run: images that somebody else's attack broke count from then on."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import numpy as np

from reports.numbers.attack_facts import SUBMITTED, AttackFacts, Threat
from reports.numbers.metrics import CLEAN
from reports.numbers.outcomes import NOT_MEASURED, Final, Outcomes


def submissions(known: Mapping[str, AttackFacts], threats: Collection[Threat]) -> dict[str, AttackFacts]:
    """The submissions among the stored attacks, by name, at a norm and eps that the preset attacks too."""
    return {name: attack for name, attack in known.items() if attack.kind == SUBMITTED and attack.threat in threats}


def with_unchanged_images(outcomes: Outcomes, names: Iterable[str]) -> Outcomes:
    """Outcomes in which each of these attacks covers, after the last task, all samples that `clean` covers.

    A submission is of one task. For an image that nobody submitted the unchanged one counts, which is in the ball too.
    """
    for name in names:
        correct, final = dict(outcomes.correct.get(name, {})), dict(outcomes.final.get(name, {}))
        for task in range(outcomes.tasks):
            mine, clean = (outcomes.vector(attack, outcomes.last, task) for attack in (name, CLEAN))
            not_submitted = mine == NOT_MEASURED
            theirs = outcomes.final.get(CLEAN, {}).get(task)
            if theirs is None or not not_submitted.any():
                continue
            own = final.get(task, theirs)
            correct[outcomes.last, task] = np.where(not_submitted, clean, mine)
            final[task] = Final(
                np.where(not_submitted, theirs.predicted, own.predicted),
                np.where(not_submitted, theirs.margin, own.margin),
            )
        outcomes = outcomes.with_attack(name, correct, final)
    return outcomes
