"""The optimality of every attack of a preset, how near it comes to the best of them all, from stored predictions.

An attack that was run at several eps is one attack with a curve. Pure functions of a board.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import nan

import numpy as np

from reports.boards.board import Board, Row
from reports.boards.sweeps import ranking_of, strongest
from reports.numbers.attack_facts import TRANSFER, AttackFacts
from reports.numbers.metrics import CLEAN, optimality
from reports.numbers.outcomes import NOT_MEASURED, Outcomes


@dataclass(frozen=True)
class AttackCurve:
    """Attacks that differ in their eps alone, with step sizes in proportion to it.

    attacks: by eps, ascending.
    """

    attacks: Mapping[Fraction, AttackFacts]

    @property
    def norm(self) -> str:
        return next(iter(self.attacks.values())).norm

    @property
    def largest(self) -> AttackFacts:
        """The attack at the largest eps, by which tables call the curve if it has no point at the ranking's eps."""
        return list(self.attacks.values())[-1]


@dataclass(frozen=True)
class AttackQuality:
    """The quality of one attack on one row, means over seeds.

    over_eps: optimality over all eps that the attack was run at; with one eps, at that one. NaN if no attack broke anything.
    at_ranking: the same of its run at the ranking's eps alone: the share that it breaks of the images that some attack breaks.
        NaN if it was not run there.
    samples: the images that all attacks of the norm cover, over all tasks, in the seed that has the fewest.
    compared: the number of attacks of the norm, all eps of one counted once. With one attack its quality is 1 by definition.
    """

    curve: AttackCurve
    over_eps: float
    at_ranking: float
    samples: int
    compared: int


def attack_curves(attacks: Iterable[AttackFacts]) -> list[AttackCurve]:
    """The attacks as curves over eps; those without eps, such as `clean`, are none."""
    groups: dict[tuple[object, ...], dict[Fraction, AttackFacts]] = defaultdict(dict)
    for attack in attacks:
        if attack.eps:
            groups[attack.apart_from("eps")].setdefault(attack.eps, attack)
    return [AttackCurve(dict(sorted(group.items()))) for group in groups.values()]


def qualities_of(board: Board, row: Row) -> list[AttackQuality]:
    """The quality of every attack that the preset demands of the row and that all its seeds have, transfers included.

    The best at an eps is right on an image only if it is right without an attack and under every one of these attacks at this
    or a smaller eps of the same norm: what is in a smaller ball is in a larger one. A curve counts so too, its own smaller eps
    included. Everything is over the images that all attacks of the norm cover.
    """
    stored = set(row.measures.matrices)
    demanded = {*board.demanded, *(name for name, each in board.attacks.items() if each.kind == TRANSFER)}
    there = [each for name, each in board.attacks.items() if name in demanded and name in stored]
    everywhere = [seed.evidence.outcomes for seed in row.used_seeds]
    there = [each for each in there if all(_covers(outcomes, each.name) for outcomes in everywhere)]
    if not everywhere or not all(_covers(outcomes, CLEAN) for outcomes in everywhere):
        return []
    found = []
    for norm in dict.fromkeys(each.norm for each in there):
        curves = attack_curves(each for each in there if each.norm == norm)
        seeds = [_of_norm(outcomes, curves, ranking_of(board)[1]) for outcomes in everywhere]
        for number, curve in enumerate(curves):
            over_eps, at_ranking = np.mean([values[number] for values, _ in seeds], 0)
            samples = min(count for _, count in seeds)
            found.append(AttackQuality(curve, float(over_eps), float(at_ranking), samples, len(curves)))
    return found


def _covers(outcomes: Outcomes, name: str) -> bool:
    cells = [outcomes.vector(name, outcomes.last, task) for task in range(outcomes.tasks)]
    return bool(cells) and all((cell != NOT_MEASURED).any() for cell in cells)


def _of_norm(
    outcomes: Outcomes, curves: Sequence[AttackCurve], ranking_eps: Fraction | None
) -> tuple[list[tuple[float, float]], int]:
    """Both values of every curve in one seed, and the number of images."""
    # Any-iterate where it is stored: it is what the attack found.
    names = {each.name: strongest(each, outcomes.correct) for curve in curves for each in curve.attacks.values()}
    tasks = [_common(outcomes, [CLEAN, *names.values()], task) for task in range(outcomes.tasks)]
    places = {name: number for number, name in enumerate([CLEAN, *names.values()])}

    def accuracy(of: Sequence[str]) -> float:
        """The mean over tasks of the share that is right without an attack and under each of these."""
        rows = [places[CLEAN], *(places[name] for name in of)]
        return float(np.mean([cell[rows].min(0).mean() if cell.shape[1] else nan for cell in tasks]))

    everything = [each for curve in curves for each in curve.attacks.values()]

    def within(eps: Fraction, attacks: Iterable[AttackFacts]) -> list[str]:
        return [names[each.name] for each in attacks if each.eps is not None and each.eps <= eps]

    best_at = {eps: accuracy(within(eps, everything)) for curve in curves for eps in curve.attacks}

    def value(points: Mapping[Fraction, Sequence[str]]) -> float:
        own = np.array([accuracy(of) for of in points.values()])
        best = np.array([best_at[eps] for eps in points])
        return optimality(np.array([float(eps) for eps in points]), own, best, accuracy([]))

    found = []
    for curve in curves:
        over = value({eps: within(eps, curve.attacks.values()) for eps in curve.attacks})
        at = curve.attacks.get(ranking_eps) if ranking_eps is not None else None
        found.append((over, nan if at is None or at.eps is None else value({at.eps: [names[at.name]]})))
    return found, sum(cell.shape[1] for cell in tasks)


def _common(outcomes: Outcomes, names: Sequence[str], task: int) -> np.ndarray:
    """The outcomes int8 (names, n) after the last task, on the samples of one task that all names cover."""
    stacked = np.stack([outcomes.vector(name, outcomes.last, task) for name in names])
    return stacked[:, (stacked != NOT_MEASURED).all(0)]
