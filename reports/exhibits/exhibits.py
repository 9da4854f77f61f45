"""The thesis' exhibits from our own records: what of a board stands where in them, and beside which published values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np

from reports.boards.board import OTHER_PROTOCOL, SUPERSEDED, Board, Row
from reports.boards.sweeps import compared, strongest
from reports.numbers.attack_facts import AttackFacts
from reports.numbers.outcomes import NOT_MEASURED
from reports.numbers.published_values import PublishedValues
from reports.numbers.statistics.intervals import NO_INTERVAL, Interval
from reports.numbers.wording import fraction

SCENARIO = "cifar100_superclasses"
"""The stream of the thesis' CIFAR-100 experiments; on other data nothing of it can stand beside ours."""
FEWEST_STEPS = 2
"""A bar chart over the number of steps needs so many of them."""
NAN = float("nan")


@dataclass(frozen=True)
class Bar:
    """One number of PGD steps: ours with its interval, and what was published, each NaN where there is none."""

    steps: int
    accuracy: float
    bounds: Interval
    published: float


@dataclass(frozen=True)
class BarGroup:
    """The bars of one method at one eps. row: None where we have no such row; printed: the group's name in the thesis."""

    method: str
    row: Row | None
    eps: Fraction
    printed: str
    bars: tuple[Bar, ...]

    @property
    def is_measured(self) -> bool:
        return any(bar.accuracy == bar.accuracy for bar in self.bars)

    @property
    def is_misprinted(self) -> bool:
        """Whether the thesis' figure prints another eps than the one it was attacked with: 2/455 for 4/255."""
        return bool(self.printed) and f"eps={self.eps}" not in self.printed


@dataclass(frozen=True)
class Exhibits:
    """The exhibits of one board. Published values stand beside ours only where the data are those of the thesis."""

    board: Board
    published: PublishedValues

    @property
    def is_of_thesis_data(self) -> bool:
        scenario = self.board.rows[0].seeds[0].run.identity.get("scenario")
        return (scenario.get("name") if isinstance(scenario, dict) else scenario) == SCENARIO

    @property
    def tasks(self) -> list[str]:
        """The names of the board's tasks, their numbers where they have none."""
        names = self.board.task_names
        return [names[task] if task < len(names) else str(task) for task in range(self.board.tasks)]

    def row_of(self, method: str) -> Row | None:
        """The row that stands for a method, ranked or not: of several the one labelled as it, else the first by label."""
        found = [row for row in self.board.rows if row.method == method]
        current = [row for row in found if row.verdict not in (SUPERSEDED, OTHER_PROTOCOL)]
        return min(current, key=lambda row: (row.label != method, row.label), default=None)

    @cached_property
    def swept(self) -> dict[Fraction, dict[int, AttackFacts]]:
        """By eps and number of steps (those of the thesis' bar chart): the matrix' attack with that eps and as many steps.

        Its step size is the same multiple of each eps.
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
        measured = {steps for attacks in self.swept.values() for steps in attacks}
        everything = set(self.published.pgd_steps["pgd_steps"]) if self.is_of_thesis_data else measured
        return sorted(everything)

    @cached_property
    def groups(self) -> list[BarGroup]:
        """The bar chart: the thesis' methods in its order, their ranked rows, eps ascending. Empty where we have no bar.

        A row's bars are over the same samples. A published group stands beside the row that was trained at its eps, else
        beside the one labelled as the method.
        """
        if len({steps for attacks in self.swept.values() for steps in attacks}) < FEWEST_STEPS:
            return []
        groups = [group for method in self.published.pgd_steps["method"].unique() for group in self._groups_of(method)]
        return groups if any(group.is_measured for group in groups) else []

    def _groups_of(self, method: str) -> list[BarGroup]:
        ranked = [row for row in self.board.ranked if row.method == method]
        rows: list[Row | None] = [*sorted(ranked, key=lambda row: (row.label != method, row.label))]
        lines = self.published.pgd_steps[self.published.pgd_steps["method"] == method]
        wanted = sorted(set(lines["epsilon"])) if self.is_of_thesis_data else []
        # Of rows that fit equally well the first one.
        beside = {eps: min(rows, key=lambda row: trained_eps(row) != eps, default=None) for eps in wanted}
        found = []
        for row in rows or [None]:
            measured = self._measured(row)
            published = {eps for eps in wanted if beside[eps] is row}
            for eps in sorted({eps for eps, _ in measured} | published):
                here = lines[lines["epsilon"] == eps] if eps in published else lines[:0]
                printed = dict(zip(here["pgd_steps"], here["accuracy"], strict=True))
                bars = tuple(
                    Bar(steps, *measured.get((eps, steps), (NAN, NO_INTERVAL)), float(printed.get(steps, NAN)))
                    for steps in self.steps
                )
                found.append(BarGroup(method, row, eps, str(here["group"].iloc[0]) if len(here) else "", bars))
        return found

    def _names(self, row: Row) -> dict[tuple[Fraction, int], str]:
        """By eps and steps the outcome of the row's bar: any-iterate where it is stored."""
        stored = row.measures.matrices
        return {
            (eps, steps): strongest(attack, stored)
            for eps, attacks in self.swept.items()
            for steps, attack in attacks.items()
        }

    def _measured(self, row: Row | None) -> dict[tuple[Fraction, int], tuple[float, Interval]]:
        names = {} if row is None else self._names(row)
        found = {} if row is None else compared(row, list(names.values()))
        return {key: found[name] for key, name in names.items() if name in found}

    def samples(self, row: Row) -> int:
        """Over how many images the bars of a row are, in the seed that has the fewest."""
        names = [name for name in self._names(row).values() if name in row.measures.matrices]
        return min(_covered_by_all(row, seed, names) for seed in range(len(row.seeds)))


def exhibits_of(boards: Sequence[Board], published: PublishedValues) -> list[Exhibits]:
    return [Exhibits(board, published) for board in boards]


def trained_eps(row: Row | None) -> Fraction | None:
    """The eps that a row's networks were trained at; None where no row is, or where it was not recorded."""
    return None if row is None else fraction(row.seeds[0].run.identity.get("eps"))


def _covered_by_all(row: Row, seed: int, names: Sequence[str]) -> int:
    outcomes = row.seeds[seed].evidence.outcomes
    return sum(
        int((np.stack([outcomes.vector(name, outcomes.last, task) for name in names]) != NOT_MEASURED).all(0).sum())
        for task in range(outcomes.tasks)
    )
