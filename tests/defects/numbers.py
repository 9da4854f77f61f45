"""The number behind a verdict, read from its evidence, so that a threshold can be compared with both sides of the gap."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from reports.checks.verdicts import Verdict

Read = Callable[[re.Match[str]], float]


def _first(match: re.Match[str]) -> float:
    return float(match[1])


def _points_apart(match: re.Match[str]) -> float:
    return 100 * abs(float(match[1]) - float(match[2]))


_NUMBER = r"([+-]?(?:\d[\d.]*(?:e[+-]?\d+)?|inf))"

QUANTITIES: Mapping[str, tuple[str, str, Read]] = {
    "failures": ("failures", rf"^{_NUMBER}", _first),
    "eval_mode": ("refusals", rf"^{_NUMBER} refusals", _first),
    "head_sliced": ("refusals", rf"^{_NUMBER} refusals", _first),
    "outputs_are_logits": ("refusals", rf"^{_NUMBER} refusals", _first),
    "complete": ("cells missing", rf"^{_NUMBER}", _first),
    "within_eps": ("change beyond eps", rf": {_NUMBER}$", _first),
    "ball_used": ("share of eps used", rf": {_NUMBER} of eps", _first),
    "unchanged": ("evaluations that changed something", rf"^{_NUMBER} of", _first),
    "repeatable": ("relative difference", rf": {_NUMBER}$", _first),
    "batch_independent": ("relative difference", rf": {_NUMBER}$", _first),
    "judged_afresh": ("answers that changed", rf"^{_NUMBER} of", _first),
    "eps_zero": ("predictions changed", rf"^{_NUMBER} of", _first),
    "robust_below_clean": ("p", rf"p = {_NUMBER}", _first),
    "pgd_below_baselines": ("p", rf"p = {_NUMBER}", _first),
    "not_rising_with_steps": ("p", rf"p = {_NUMBER}", _first),
    "not_rising_with_eps": ("p", rf"p = {_NUMBER}", _first),
    "not_rising_with_restarts": ("p", rf"p = {_NUMBER}", _first),
    "step_sizes_swept": ("step sizes", rf"^{_NUMBER}", _first),
    "final_close_to_any": ("points", rf": {_NUMBER} points", _first),
    "gradients_are_true": ("error of the gradient", rf": {_NUMBER}, nearby", _first),
    "loss_rises": ("smallest rise of the loss", rf": {_NUMBER}$", _first),
    "converged": ("points per doubling", rf": {_NUMBER} points", _first),
    "gradients_carry_signal": ("share of zeros at the start", rf"start {_NUMBER}", _first),
    "settings": ("warnings", rf"^{_NUMBER}", _first),
    "unbounded": ("% left at eps = 1", rf"^{_NUMBER} %", _first),
    "rescaled_logits": ("p", rf"p = {_NUMBER}", _first),
    "inside_below_white_box": ("samples broken", rf": {_NUMBER} of", _first),
    "distilled_below_white_box": ("samples broken", rf": {_NUMBER} of", _first),
    "black_box_below_white_box": ("samples broken", rf": {_NUMBER} of", _first),
    "transfer_below_white_box": ("samples broken", rf": {_NUMBER} of", _first),
    "float32_below_fast": ("samples broken", rf": {_NUMBER} of", _first),
    "control_broken": ("% of the control left", rf"control {_NUMBER} %", _first),
    "learned_something": ("tasks at chance", rf"^{_NUMBER} of", _first),
    "validation_reproduced": ("points apart", rf"harness {_NUMBER}, logged {_NUMBER}$", _points_apart),
    "learned_without_test": ("things reached for", rf"^{_NUMBER}", _first),
    "test_like_validation": ("p", rf"p = {_NUMBER}$", _first),
    "unforgetting": ("classifiers made again", rf"^{_NUMBER} of", _first),
}
"""By the name of a check: the meaning of its number, its place in the evidence, and the function that reads it."""


def number(verdict: Verdict) -> float | None:
    """The number of a verdict; None where its evidence holds none."""
    if verdict.check not in QUANTITIES:
        return None
    _, pattern, read = QUANTITIES[verdict.check]
    match = re.search(pattern, verdict.evidence)
    return None if match is None else read(match)


def quantity(check: str) -> str:
    """The meaning of a check's number, such as its unit; empty for an unknown check."""
    return QUANTITIES[check][0] if check in QUANTITIES else ""


def spread(values: Iterable[float | None]) -> str:
    """`smallest .. largest` of those that are numbers, one number where they are equal; empty without any."""
    known = sorted(value for value in values if value is not None)
    if not known:
        return ""
    low, high = f"{known[0]:.3g}", f"{known[-1]:.3g}"
    return low if low == high else f"{low} .. {high}"
