"""Checks that stand between a number and the ranking, computed from stored evidence alone.

Each check is a function from `Evidence` to one `Verdict`; `CHECKS` lists them, and another check is one more entry.
Sources of the checks: Carlini et al. 2019, Athalye et al. 2018, Tramèr et al. 2020, Pintor et al. 2022. A failed
check takes the row off the ranking.
"""

from __future__ import annotations

from collections.abc import Sequence

from reports import attack_checks, record_checks
from reports.checks import FAIL, NOT_RUN, ORDER, PASS, WARN, Check, Verdict
from reports.evidence import Evidence

__all__ = ["CHECKS", "FAIL", "NOT_RUN", "ORDER", "PASS", "WARN", "Check", "Verdict", "judge", "overall"]

CHECKS: list[Check] = [
    record_checks.failures,
    record_checks.complete,
    record_checks.within_eps,
    record_checks.unchanged,
    attack_checks.robust_below_clean,
    attack_checks.pgd_below_baselines,
    attack_checks.not_rising_with_steps,
    attack_checks.not_rising_with_eps,
    attack_checks.not_rising_with_restarts,
    attack_checks.black_box_below_white_box,
    attack_checks.final_close_to_any,
    record_checks.learned_something,
    attack_checks.loss_rises,
    attack_checks.converged,
    attack_checks.gradients_carry_signal,
    attack_checks.settings,
    record_checks.validation_reproduced,
    record_checks.unforgetting,
]


def judge(evidence: Evidence, checks: Sequence[Check] | None = None) -> list[Verdict]:
    """All verdicts on one run."""
    return [check(evidence) for check in (CHECKS if checks is None else checks)]


def overall(verdicts: Sequence[Verdict]) -> str:
    """The worst status among them; `not_run` only if nothing ran."""
    return max((verdict.status for verdict in verdicts), key=ORDER.index, default=NOT_RUN)
