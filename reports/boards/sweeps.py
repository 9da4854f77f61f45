"""Sweeps of an attack's settings: the attacks that form a curve, and the accuracies along it. Pure functions of a board."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np

from reports.boards.board import Board, Row
from reports.numbers.attack_facts import AttackFacts, Threat, ranking_norm, worst_at
from reports.numbers.metrics import CLEAN, WORST, Array
from reports.numbers.outcomes import NOT_MEASURED, Outcomes
from reports.numbers.statistics.bootstrap import resampled_accuracies
from reports.numbers.statistics.intervals import Interval, interval
from reports.numbers.wording import in_eps, over_255

STEPS, STEP_SIZE, EPS = "steps", "step_size", "eps"
"""The fields of a specification that curves are over."""
FEWEST_POINTS = 2


@dataclass(frozen=True)
class Curve:
    """Attacks that differ in one field and in nothing else.

    field: STEPS, STEP_SIZE or EPS.
    attacks: by the value of the field, ascending: whole numbers, multiples of eps, or eps itself. Over eps the step size is
        the same multiple of each eps.
    """

    field: str
    attacks: Mapping[Fraction, AttackFacts]

    @property
    def kind(self) -> str:
        return next(iter(self.attacks.values())).kind

    @property
    def fixed(self) -> str:
        """The settings that all attacks of the curve share, in words: `linf 8/255, step size eps/4`."""
        one = next(iter(self.attacks.values()))
        at_eps = one.norm if self.field == EPS else f"{one.norm} {over_255(one.eps)}"
        words = [at_eps]
        words += [f"{one.steps} steps"] if self.field != STEPS and one.steps else []
        words += [f"step size {in_eps(one.step_in_eps)}"] if self.field != STEP_SIZE and one.step_in_eps else []
        words += [f"{one.restarts} restarts"] if one.restarts > 1 else []
        words += [f"loss {one.loss}"] if one.loss not in ("", "ce") else []
        words += [f"{name} {value}" for name, value in _unusual(one)]
        return ", ".join(words)


def curves(attacks: Iterable[AttackFacts], ranking: Threat) -> list[Curve]:
    """The curves to show: at most one over steps, one over step size and one over eps, in this order.

    ranking: the norm of every curve, and the eps of those over steps and step size.
    """
    at_norm = [attack for attack in attacks if attack.norm == ranking[0] and attack.eps]
    at_eps = [attack for attack in at_norm if attack.eps == ranking[1]]
    found = [curve(at_eps, STEPS), curve(at_eps, STEP_SIZE), curve(at_norm, EPS)]
    return [each for each in found if each is not None]


def curve(attacks: Iterable[AttackFacts], field: str) -> Curve | None:
    """The attacks that differ in `field` alone, or None if no two do.

    Of several such groups PGD comes first, then the one with the most members, then the plainest (fewest restarts,
    cross-entropy, fewest other fields), then the most steps, then the middle step size.
    """
    groups: dict[tuple[Any, ...], dict[Fraction, AttackFacts]] = defaultdict(dict)
    for attack in attacks:
        value = _value(attack, field)
        if value is not None:
            groups[attack.apart_from(field)].setdefault(value, attack)
    members = [group for group in groups.values() if len(group) >= FEWEST_POINTS]
    if not members:
        return None

    def plainness(group: Mapping[Fraction, AttackFacts]) -> tuple[Any, ...]:
        one = next(iter(group.values()))
        usual = one.restarts, one.loss != "ce", one.loss, len(_unusual(one)), one.rest, one.kind
        return one.kind != "pgd", -len(group), *usual, 0 if field == STEPS else -one.steps

    best = min(plainness(group) for group in members)
    alike = [group for group in members if plainness(group) == best]
    alike.sort(key=lambda group: next(iter(group.values())).step_in_eps or 0)
    middle = alike[(len(alike) - 1) // 2]
    return Curve(field, dict(sorted(middle.items())))


def _value(attack: AttackFacts, field: str) -> Fraction | None:
    """The value of an attack on the axis of a field; None for attacks without it."""
    if field == STEPS:
        return Fraction(attack.steps) if attack.steps else None
    return attack.eps if field == EPS else attack.step_in_eps


def _unusual(attack: AttackFacts) -> list[tuple[str, str]]:
    """The other fields of the specification, without the usual random start."""
    return [(name, value) for name, value in attack.rest if (name, value) != ("random_start", "true")]


def ranking_of(board: Board) -> Threat:
    """The norm and eps that the rows of a board are ranked at."""
    return ranking_norm(board.matrix, board.attacks), board.eps


def strongest(attack: AttackFacts, stored: Collection[str]) -> str:
    """The name of the attack's any-iterate outcome if it is among the stored ones, else of its only one."""
    return attack.any if attack.any in stored else attack.name


def compared(row: Row, names: Sequence[str]) -> dict[str, tuple[float, Interval]]:
    """ACC and its interval by name, for those of `names` that every seed of the row has after the last task.

    They are over the samples that all of them cover: attacks of one curve may have been run on different numbers of samples,
    and a curve must not rise or fall because other samples come in. If all cover the same, this is the row's ACC.
    """
    outcomes = [seed.evidence.outcomes for seed in row.seeds]
    found = [name for name in dict.fromkeys(names) if all(_is_covered(each, name) for each in outcomes)]
    if not found or not outcomes:
        return {}
    cells = [[_common(each, found, task) for task in range(each.tasks)] for each in outcomes]
    values = np.array([np.mean([_accuracies(correct) for correct in tasks], 0) for tasks in cells])

    @cache
    def draws() -> list[Array]:
        """Per seed, ACC of every name in each resample: (resamples, names)."""
        return [np.mean([resampled_accuracies(correct, j) for j, correct in enumerate(tasks)], 0) for tasks in cells]

    def of(k: int) -> Interval:
        return interval(values[:, k].tolist(), lambda: [drawn[:, k] for drawn in draws()])

    return {name: (float(values[:, k].mean()), of(k)) for k, name in enumerate(found)}


def _accuracies(correct: np.ndarray) -> Array:
    return correct.mean(1) if correct.shape[1] else np.full(len(correct), np.nan)


def _is_covered(outcomes: Outcomes, name: str) -> bool:
    cells = [outcomes.vector(name, outcomes.last, j) for j in range(outcomes.tasks)]
    return bool(cells) and all((cell != NOT_MEASURED).any() for cell in cells)


def _common(outcomes: Outcomes, names: Sequence[str], task: int) -> np.ndarray:
    """The outcomes int8 (names, n) after the last task, on the samples of one task that all names cover."""
    stacked = np.stack([outcomes.vector(name, outcomes.last, task) for name in names])
    return stacked[:, (stacked != NOT_MEASURED).all(0)]


def worsts(board: Board) -> dict[str, Threat]:
    """The norm and eps of every `worst` that some row has: first the ranking's, then the others by norm and eps."""
    stored = {name for row in board.rows for name in row.measures.matrices}
    ranking = ranking_of(board)
    others = {attack.threat for attack in board.attacks.values() if attack.kind != CLEAN and attack.eps} - {ranking}
    # linf comes first: most presets are about it.
    ordered = sorted(others, key=lambda threat: (threat[0] != "linf", threat[0], threat[1] or 0))
    named = {WORST: ranking, **{worst_at(*threat): threat for threat in ordered}}
    return {name: threat for name, threat in named.items() if name in stored}
