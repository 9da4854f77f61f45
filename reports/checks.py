"""What a check is: a function from the evidence on one run to one verdict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from reports.evidence import Evidence

PASS, WARN, FAIL, NOT_RUN = "pass", "warn", "fail", "not_run"
ORDER = (NOT_RUN, PASS, WARN, FAIL)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of one check: what it measures, its threshold and why, what was found, and the reason in words."""

    check: str
    measures: str
    threshold: str
    evidence: str
    status: str
    reason: str


Check = Callable[[Evidence], Verdict]


def unit(check: str, measures: str, threshold: str) -> Callable[[str, str, str], Verdict]:
    def verdict(evidence: str, status: str, reason: str) -> Verdict:
        return Verdict(check, measures, threshold, evidence, status, reason)

    return verdict


def is_at_chance(evidence: Evidence, attack: str, after_task: int, task: int) -> bool:
    """Whether accuracy under the attack (any-iterate where stored) is at or below chance, within two standard errors."""
    accuracy, samples = evidence.strongest_cell(attack, after_task, task)
    chance = evidence.chance(task)
    return bool(accuracy <= chance + 2 * np.sqrt(chance * (1 - chance) / max(1, samples)))
