"""What a board is: its rows, each with its runs, verdicts and measures."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property

from reports.checks.verdicts import FAIL, NOT_RUN, ORDER, PASS, WARN, Verdict
from reports.numbers.attack_facts import AttackFacts
from reports.numbers.completeness import missing_cells
from reports.numbers.evidence import Evidence
from reports.numbers.metrics import CLEAN, WORST, Array
from reports.numbers.protocol import Protocol
from reports.numbers.statistics.comparisons import Comparison
from reports.numbers.statistics.intervals import NO_INTERVAL, Interval, interval_kind
from results import Run

CONTROL = "single_task_standard"
"""The method whose runs are the undefended control."""


FAILED, INCOMPLETE, SUPERSEDED, OTHER_PROTOCOL = "failed", "incomplete", "superseded", "other protocol"


NAN = float("nan")


@dataclass
class Measures:
    """values and intervals by column name (`ACC_lopezpaz2017 worst`); `interval`: what kind of interval they are.

    matrices: R by attack, mean over seeds; seeds: how many complete runs they are over.
    """

    values: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, Interval] = field(default_factory=dict)
    matrices: dict[str, Array] = field(default_factory=dict)
    interval: str = interval_kind(0)
    seeds: int = 0

    def value(self, column: str) -> float:
        return self.values.get(column, NAN)

    def bounds(self, column: str) -> Interval:
        return self.intervals.get(column, NO_INTERVAL)


@dataclass(frozen=True)
class Seed:
    """One run of a row: its evidence and the verdicts on it."""

    evidence: Evidence
    verdicts: list[Verdict]

    @property
    def run(self) -> Run:
        return self.evidence.run

    @cached_property
    def is_complete(self) -> bool:
        return not missing_cells(self.evidence)


@dataclass
class Row:
    """Runs that differ in their seed alone. `verdict`: pass, warn, not_run, or why it stands below the line."""

    label: str
    method: str
    identity: str
    published: bool
    seeds: list[Seed]
    verdict: str
    reason: str = ""
    rank: int | None = None
    measures: Measures = field(default_factory=Measures)

    @property
    def checks(self) -> dict[str, int]:
        """How many checks passed, warned, failed and were not run; of several seeds the worst counts."""
        worst: dict[str, str] = {}
        for verdict in (verdict for seed in self.seeds for verdict in seed.verdicts):
            worst[verdict.check] = max(verdict.status, worst.get(verdict.check, NOT_RUN), key=ORDER.index)
        return {status: list(worst.values()).count(status) for status in (PASS, WARN, FAIL, NOT_RUN)}

    @property
    def is_ranked(self) -> bool:
        return self.rank is not None

    @property
    def seed_values(self) -> list[int]:
        return [seed.run.seed for seed in self.seeds]

    @property
    def protocol(self) -> Protocol:
        return max((seed.evidence.protocol for seed in self.seeds), key=lambda protocol: protocol.demanded_at)

    @property
    def acc(self) -> float:
        """What the ranking is by: ACC of `worst`; NaN where there is none."""
        return self.measures.value(f"ACC_lopezpaz2017 {WORST}")


@dataclass
class Board:
    """All rows of one preset: the ranked ones by rank, then the others by label.

    stem: the beginning of the names of its files, short and unlike that of any other board of the report.
    """

    preset: str
    stem: str
    eps: Fraction | None
    tasks: int
    matrix: list[str]
    final: list[str]
    attacks: dict[str, AttackFacts]
    chance: float
    task_names: list[str]
    rows: list[Row]
    comparisons: list[Comparison]

    @property
    def ranked(self) -> list[Row]:
        return [row for row in self.rows if row.is_ranked]

    @property
    def below(self) -> list[Row]:
        return [row for row in self.rows if not row.is_ranked]

    @property
    def robust_matrix(self) -> str | None:
        return next((attack for attack in self.matrix if attack != CLEAN), None)

    @property
    def demanded(self) -> list[str]:
        return list(dict.fromkeys([*self.matrix, *self.final]))


def matrix_attacks(board: Board) -> list[str]:
    return [attack for attack in (CLEAN, board.robust_matrix) if attack]
