"""The data of the thesis' exhibits: the rows and attacks of a board that they show, and the published values beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import nan

import numpy as np

from reports.boards.board import SET_ASIDE, Board, Row
from reports.boards.sweeps import compared, strongest
from reports.numbers.attack_facts import AttackFacts
from reports.numbers.outcomes import NOT_MEASURED
from reports.numbers.published_values import PublishedValues
from reports.numbers.statistics.intervals import NO_INTERVAL, Interval
from reports.numbers.wording import fraction

SCENARIO = "cifar100_superclasses"
"""The stream of the thesis' CIFAR-100 experiments. On other data no published value stands beside ours."""
FEWEST_STEPS = 2
"""Numbers of steps that a bar chart over them needs."""
PRINTED_ERROR = 5e-5
"""Half a unit of the last decimal that the thesis gives."""


@dataclass(frozen=True)
class Bar:
    """One number of PGD steps: our accuracy with its interval, and the published one, in [0, 1]; NaN if missing."""

    steps: int
    accuracy: float
    bounds: Interval
    published: float


@dataclass(frozen=True)
class BarGroup:
    """The bars of one method at one eps.

    row: None if the board has no such row.
    printed: the group's name in the thesis; empty if it has none.
    """

    method: str
    row: Row | None
    eps: Fraction
    printed: str
    bars: tuple[Bar, ...]

    @property
    def has_ours(self) -> bool:
        return any(bar.accuracy == bar.accuracy for bar in self.bars)

    @property
    def is_misprinted(self) -> bool:
        """True if the thesis' figure prints another eps than that of the attack: 2/455 for 4/255."""
        return bool(self.printed) and f"eps={self.eps}" not in self.printed


@dataclass(frozen=True, eq=False)
class Exhibits:
    """The exhibits of one board. Published values stand beside ours only on the data of the thesis."""

    board: Board
    published: PublishedValues

    @property
    def is_of_thesis_data(self) -> bool:
        """True if the board's stream is that of the thesis' CIFAR-100 experiments, and asks within the tasks as they did."""
        return self.scenario == SCENARIO and self.asks_within_tasks

    @property
    def scenario(self) -> str:
        """The name of the board's scenario; empty if it was not recorded."""
        stored = self.board.rows[0].seeds[0].run.identity.get("scenario")
        return str((stored.get("name") if isinstance(stored, dict) else stored) or "")

    @property
    def asks_within_tasks(self) -> bool:
        """True if the task of an image was told at test: the stream's protocol is not `class`."""
        stored = self.board.rows[0].seeds[0].run.identity.get("scenario")
        settings = stored.get("settings") if isinstance(stored, dict) else None
        return not isinstance(settings, dict) or settings.get("protocol", "task") == "task"

    @property
    def tasks(self) -> list[str]:
        """The names of the board's tasks; a number for a task without a name."""
        names = self.board.task_names
        return [names[task] if task < len(names) else str(task) for task in range(self.board.tasks)]

    def row_of(self, method: str) -> Row | None:
        """The row that stands for a method, ranked or not: of several the one labelled as it, else the first by label."""
        found = [row for row in self.board.rows if row.method == method]
        current = [row for row in found if row.verdict not in SET_ASIDE]
        return min(current, key=lambda row: (row.label != method, row.label), default=None)

    @cached_property
    def swept(self) -> dict[Fraction, dict[int, AttackFacts]]:
        """The attacks of the bar chart, by eps and number of steps.

        They differ from the attack of the matrix only in these two; the step size is the same multiple of each eps.
        """
        usual = self.board.attacks.get(self.board.robust_matrix or "")
        steps = set(self.published.pgd_steps["pgd_steps"])
        found: dict[Fraction, dict[int, AttackFacts]] = {}
        for attack in self.board.attacks.values() if usual else ():
            alike = attack.apart_from("steps", "eps") == usual.apart_from("steps", "eps") if usual else False
            if alike and attack.eps and attack.steps in steps:
                found.setdefault(attack.eps, {})[attack.steps] = attack
        return dict(sorted(found.items()))

    @property
    def steps(self) -> list[int]:
        """The numbers of steps that have bars, ascending."""
        swept = {steps for attacks in self.swept.values() for steps in attacks}
        return sorted(set(self.published.pgd_steps["pgd_steps"]) if self.is_of_thesis_data else swept)

    @cached_property
    def groups(self) -> list[BarGroup]:
        """The groups of the bar chart: the thesis' methods in its order, their ranked rows, eps ascending.

        Empty if no bar is ours. The bars of a row are over the same samples. A published group stands beside the row that was
        trained at its eps, else beside the row labelled as the method.
        """
        if len({steps for attacks in self.swept.values() for steps in attacks}) < FEWEST_STEPS:
            return []
        groups = [group for method in self.published.pgd_steps["method"].unique() for group in self._groups_of(method)]
        return groups if any(group.has_ours for group in groups) else []

    def _groups_of(self, method: str) -> list[BarGroup]:
        ranked = [row for row in self.board.ranked if row.method == method]
        rows: list[Row | None] = [*sorted(ranked, key=lambda row: (row.label != method, row.label))]
        lines = self.published.pgd_steps[self.published.pgd_steps["method"] == method]
        wanted = sorted(set(lines["epsilon"])) if self.is_of_thesis_data else []
        # Of rows that fit equally well it stands beside the first one.
        beside = {eps: min(rows, key=lambda row: trained_eps(row) != eps, default=None) for eps in wanted}
        found = []
        for row in rows or [None]:
            ours = self._ours(row)
            published = {eps for eps in wanted if beside[eps] is row}
            for eps in sorted({eps for eps, _ in ours} | published):
                here = lines[lines["epsilon"] == eps] if eps in published else lines[:0]
                printed = dict(zip(here["pgd_steps"], here["accuracy"], strict=True))
                bars = tuple(
                    Bar(steps, *ours.get((eps, steps), (nan, NO_INTERVAL)), float(printed.get(steps, nan)))
                    for steps in self.steps
                )
                found.append(BarGroup(method, row, eps, str(here["group"].iloc[0]) if len(here) else "", bars))
        return found

    def _outcomes(self, row: Row) -> dict[tuple[Fraction, int], str]:
        """The outcome of each bar of the row, by eps and steps: any-iterate if stored."""
        stored = row.measures.matrices
        return {
            (eps, steps): strongest(attack, stored)
            for eps, attacks in self.swept.items()
            for steps, attack in attacks.items()
        }

    def _ours(self, row: Row | None) -> dict[tuple[Fraction, int], tuple[float, Interval]]:
        names = {} if row is None else self._outcomes(row)
        found = {} if row is None else compared(row, list(names.values()))
        return {key: found[name] for key, name in names.items() if name in found}

    def samples(self, row: Row) -> int:
        """The number of images that the bars of a row are over, in the seed that has the fewest."""
        names = [name for name in self._outcomes(row).values() if name in row.measures.matrices]
        return min(_covered_by_all(row, seed, names) for seed in range(len(row.seeds)))


def exhibits_of(boards: Sequence[Board], published: PublishedValues) -> list[Exhibits]:
    """The exhibits of every board."""
    return [Exhibits(board, published) for board in boards]


def trained_eps(row: Row | None) -> Fraction | None:
    """The eps that a row's networks were trained at; None without a row, or if it was not recorded."""
    return None if row is None else fraction(row.seeds[0].run.identity.get("eps"))


def _covered_by_all(row: Row, seed: int, names: Sequence[str]) -> int:
    outcomes = row.seeds[seed].evidence.outcomes
    return sum(
        int((np.stack([outcomes.vector(name, outcomes.last, task) for name in names]) != NOT_MEASURED).all(0).sum())
        for task in range(outcomes.tasks)
    )
