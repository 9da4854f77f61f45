"""All checks, and the verdicts that they give on a run from its stored evidence alone.

Each check is a `Check` around a function from `Evidence` to `Judgement`. `CHECKS` lists them in the order in which they are
shown; a new check is one more entry. A failed check takes the row off the ranking.

Sources: Carlini et al. 2019, Athalye et al. 2018, Tramèr et al. 2020, Croce & Hein 2020, Pintor et al. 2022,
Zimmermann et al. 2022.
"""

from __future__ import annotations

from collections.abc import Sequence

from reports.checks import afresh as afresh_checks
from reports.checks import attacks as attack_checks
from reports.checks import black_boxes as black_box_checks
from reports.checks import classifier as classifier_checks
from reports.checks import control as control_checks
from reports.checks import extra_attacks as extra_attack_checks
from reports.checks import gradients as gradient_checks
from reports.checks import learning as learning_checks
from reports.checks import records as record_checks
from reports.checks.check import FAIL, NOT_RUN, ORDER, PASS, WARN, Check, Verdict
from reports.numbers.evidence import Evidence

__all__ = [
    "CHECKS", "FAIL", "NOT_RUN", "ORDER", "PASS", "WARN", "Check", "Verdict", "judge", "overall",
]  # fmt: skip

CHECKS: list[Check] = [
    record_checks.failures,
    classifier_checks.eval_mode,
    classifier_checks.head_sliced,
    classifier_checks.outputs_are_logits,
    record_checks.complete,
    record_checks.within_eps,
    record_checks.ball_used,
    record_checks.unchanged,
    classifier_checks.repeatable,
    classifier_checks.batch_independent,
    afresh_checks.judged_afresh,
    extra_attack_checks.eps_zero,
    attack_checks.robust_below_clean,
    attack_checks.pgd_below_baselines,
    attack_checks.not_rising_with_steps,
    attack_checks.not_rising_with_eps,
    attack_checks.not_rising_with_restarts,
    attack_checks.step_sizes_swept,
    attack_checks.final_close_to_any,
    gradient_checks.gradients_are_true,
    gradient_checks.loss_rises,
    gradient_checks.converged,
    gradient_checks.gradients_carry_signal,
    gradient_checks.settings,
    extra_attack_checks.unbounded,
    extra_attack_checks.rescaled_logits,
    black_box_checks.inside_below_white_box,
    black_box_checks.distilled_below_white_box,
    black_box_checks.black_box_below_white_box,
    black_box_checks.transfer_below_white_box,
    black_box_checks.float32_below_fast,
    control_checks.control_broken,
    record_checks.learned_something,
    record_checks.validation_reproduced,
    learning_checks.learned_without_test,
    learning_checks.test_like_validation,
    record_checks.unforgetting,
]


def judge(evidence: Evidence, checks: Sequence[Check] | None = None) -> list[Verdict]:
    """All verdicts on one run."""
    return [check(evidence) for check in (CHECKS if checks is None else checks)]


def overall(verdicts: Sequence[Verdict]) -> str:
    """The worst status among the verdicts; `not_run` only if no check ran."""
    return max((verdict.status for verdict in verdicts), key=ORDER.index, default=NOT_RUN)
