"""A check: a named question about the evidence on one run, with a threshold and the argument for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from reports.numbers.evidence import Evidence

PASS, WARN, FAIL, NOT_RUN = "pass", "warn", "fail", "not_run"
ORDER = (NOT_RUN, PASS, WARN, FAIL)
OVER_SEEDS = (PASS, NOT_RUN, WARN, FAIL)
"""The order in which the verdicts of one check on several seeds count, the last first: it passed if it passed on every seed."""

ALWAYS, FINAL, DEEP = "always", "final", "deep"
COST_CLASSES = {
    ALWAYS: "free or a few forward passes, with every evaluation",
    FINAL: "a few extra attacks on a subset after the last task, at most a fifth of the evaluation",
    DEEP: "attacks of thousands of queries, with --checks deep or if the preset has them",
}
"""The cost of a check, by its class."""

MOST_SAMPLES = 8
"""Samples that a verdict names, at most."""
NOT_RECORDED_YET = "recorded before this was asked; run the preset again where its checkpoints are"
"""The reason why a check cannot judge older records."""

Sample = tuple[int, int]
"""(task, id of the sample)"""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The answer of a check.

    status: PASS, WARN, FAIL or NOT_RUN.
    evidence: the numbers that it looked at.
    reason: a sentence for readers.
    samples: those that show it; empty if the question is not about samples.
    """

    status: str
    evidence: str
    reason: str
    samples: tuple[Sample, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """A judgement on one run with the name of its check, and the check's words that a reader needs beside it."""

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
    """A question about the evidence on one run.

    name: in tables and reasons.
    question: a sentence for readers.
    measures: the number that it looks at.
    threshold: the values at which it warns or fails.
    why: the argument for the threshold.
    planted: the deliberately broken defenses that it was tested on.
    source: the papers that asked first.
    cost: of `COST_CLASSES`.
    judge: from evidence to judgement.
    """

    name: str
    question: str
    measures: str
    threshold: str
    why: str
    planted: str
    source: str
    cost: str
    judge: Callable[[Evidence], Judgement]

    def __call__(self, evidence: Evidence) -> Verdict:
        """The verdict on one run."""
        found = self.judge(evidence)
        samples = tuple(sorted(found.samples)[:MOST_SAMPLES])
        return Verdict(
            self.name, self.measures, self.threshold, found.evidence, found.status, found.reason, self.cost, samples
        )


def check(
    *, question: str, measures: str, threshold: str, why: str, planted: str, source: str = "", cost: str = ALWAYS
) -> Callable[[Callable[[Evidence], Judgement]], Check]:
    """Make a check of a function from evidence to judgement. Its name is the function's."""

    def made(judge: Callable[[Evidence], Judgement]) -> Check:
        return Check(judge.__name__, question, measures, threshold, why, planted, source, cost, judge)

    return made


def not_run(reason: str) -> Judgement:
    """The judgement where nothing was recorded: it speaks neither for nor against the run."""
    return Judgement(NOT_RUN, "", reason)


def is_at_chance(evidence: Evidence, attack: str, after_task: int, task: int) -> bool:
    """True if accuracy under the attack (any-iterate if stored) is at or below chance, within two standard errors."""
    accuracy, samples = evidence.strongest_cell(attack, after_task, task)
    chance = evidence.chance(task, attack, after_task)
    return bool(accuracy <= chance + errors(chance, samples))


def errors(chance: float, samples: int, count: float = 2.0) -> float:
    """`count` standard errors of an accuracy at chance, over so many samples."""
    return float(count * np.sqrt(chance * (1 - chance) / max(1, samples)))


def errors_of_mean(chances: Sequence[float], samples: Sequence[int]) -> float:
    """Two standard errors of a mean over tasks, whose accuracies are at chance, each over its own number of samples."""
    return sum(errors(chance, n) ** 2 for chance, n in zip(chances, samples, strict=True)) ** 0.5 / len(chances)


def named(samples: Iterable[Sample]) -> str:
    """The first of these samples in brackets: ` (task 0 sample 17, task 2 sample 4, ...)`; empty for none."""
    found = sorted(samples)
    shown = ", ".join(f"task {task} sample {sample}" for task, sample in found[:2])
    return f" ({shown}{', ...' if len(found) > 2 else ''})" if found else ""
