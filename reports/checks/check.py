"""What a check is: a named question put to the evidence on one run, with a threshold that is argued for, and one finding."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from reports.numbers.evidence import Evidence

PASS, WARN, FAIL, NOT_RUN = "pass", "warn", "fail", "not_run"
ORDER = (NOT_RUN, PASS, WARN, FAIL)

ALWAYS, FINAL, DEEP = "always", "final", "deep"
COSTS = {
    ALWAYS: "free or a few forward passes, with every evaluation",
    FINAL: "a few extra attacks on a subset after the last task, at most a fifth of the evaluation",
    DEEP: "attacks of thousands of queries, with --checks deep or where the preset has them",
}
"""What a check costs, by its class."""

MOST_SAMPLES = 8
"""How many samples a verdict names."""

Sample = tuple[int, int]
"""(task, id of the sample)"""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a check found: a status, the numbers, the reason in words, and samples that show it (none where it is not of
    samples).
    """

    status: str
    evidence: str
    reason: str
    samples: tuple[Sample, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of one check on one run, with all that a reader needs to judge it."""

    check: str
    measures: str
    threshold: str
    evidence: str
    status: str
    reason: str
    cost: str = ALWAYS
    samples: tuple[Sample, ...] = ()


@dataclass(frozen=True)
class Check:
    """One unit of the engine.

    name: in tables and reasons. question: what it asks, a sentence for readers; measures: what number it looks at; threshold:
    when it warns or fails; why: the argument for that. planted: the deliberately broken defense that it was tested on;
    source: who asked first. cost: of `COSTS`.
    """

    name: str
    question: str
    measures: str
    threshold: str
    why: str
    planted: str
    source: str
    cost: str
    find: Callable[[Evidence], Judgement]

    def __call__(self, evidence: Evidence) -> Verdict:
        """The verdict on one run."""
        found = self.find(evidence)
        samples = tuple(sorted(found.samples)[:MOST_SAMPLES])
        return Verdict(
            self.name, self.measures, self.threshold, found.evidence, found.status, found.reason, self.cost, samples
        )


def check(
    *, question: str, measures: str, threshold: str, why: str, planted: str, source: str = "", cost: str = ALWAYS
) -> Callable[[Callable[[Evidence], Judgement]], Check]:
    """Make a check of a function from evidence to finding; its name is the function's."""

    def made(find: Callable[[Evidence], Judgement]) -> Check:
        return Check(find.__name__, question, measures, threshold, why, planted, source, cost, find)

    return made


def not_run(reason: str) -> Judgement:
    """Nothing was measured, so nothing is said for or against."""
    return Judgement(NOT_RUN, "", reason)


def is_at_chance(evidence: Evidence, attack: str, after_task: int, task: int) -> bool:
    """Whether accuracy under the attack (any-iterate where stored) is at or below chance, within two standard errors."""
    accuracy, samples = evidence.strongest_cell(attack, after_task, task)
    chance = evidence.chance(task)
    return bool(accuracy <= chance + errors(chance, samples))


def errors(chance: float, samples: int, count: float = 2.0) -> float:
    """So many standard errors of an accuracy that is at chance."""
    return float(count * np.sqrt(chance * (1 - chance) / max(1, samples)))


def named(samples: Iterable[Sample]) -> str:
    """` (task 0 sample 17, task 2 sample 4, ...)`; empty for none."""
    found = sorted(samples)
    shown = ", ".join(f"task {task} sample {sample}" for task, sample in found[:2])
    return f" ({shown}{', ...' if len(found) > 2 else ''})" if found else ""
