"""A board: the rows of one preset, each with its runs, their verdicts and its measures."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from itertools import accumulate
from math import nan

import numpy as np

from reports.checks.check import FAIL, NOT_RUN, OVER_SEEDS, PASS, WARN, Verdict
from reports.numbers.attack_facts import AttackFacts
from reports.numbers.completeness import missing_cells
from reports.numbers.evidence import Evidence
from reports.numbers.metrics import CLEAN, WORST, Array
from reports.numbers.outcomes import NOT_MEASURED
from reports.numbers.protocol import Protocol
from reports.numbers.statistics.comparisons import Comparison, RowOutcomes
from reports.numbers.statistics.intervals import NO_INTERVAL, Interval, interval_kind
from results import Run

CONTROL = "single_task_standard"
"""The method whose runs are the undefended control."""

FAILED, INCOMPLETE, SUPERSEDED, OTHER_PROTOCOL = "failed", "incomplete", "superseded", "other protocol"
"""Verdicts of rows below the line, beside `fail`."""
SET_ASIDE = (SUPERSEDED, OTHER_PROTOCOL)
"""Verdicts of rows whose numbers do not belong to the board."""


@dataclass
class Measures:
    """The numbers of a row.

    values, intervals: by column name, such as `ACC_lopezpaz2017 worst`.
    matrices: R (T, T) by attack, mean over seeds.
    interval: the kind of interval, in words.
    seeds: the number of complete runs that they are over.
    """

    values: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, Interval] = field(default_factory=dict)
    matrices: dict[str, Array] = field(default_factory=dict)
    interval: str = interval_kind(0)
    seeds: int = 0

    def value(self, column: str) -> float:
        return self.values.get(column, nan)

    def bounds(self, column: str) -> Interval:
        return self.intervals.get(column, NO_INTERVAL)


@dataclass(frozen=True)
class Seed:
    """One run of a row, and the verdicts on it."""

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
    """Runs that differ in their seed alone.

    identity: the hash of their common identity.
    published: True if a run of it is a tracked record.
    verdict: `pass`, `warn` or `not_run`; below the line `fail`, or one of `FAILED` ... `OTHER_PROTOCOL`.
    reason: of a verdict that is not `pass`.
    rank: None below the line.
    """

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
        """The numbers of checks that passed on every seed, and that warned, failed or were not run on some."""
        worst: dict[str, str] = {}
        for verdict in (verdict for seed in self.seeds for verdict in seed.verdicts):
            worst[verdict.check] = max(verdict.status, worst.get(verdict.check, PASS), key=OVER_SEEDS.index)
        return {status: list(worst.values()).count(status) for status in (PASS, WARN, FAIL, NOT_RUN)}

    @property
    def short_identity(self) -> str:
        """The identity as tables and reasons show it, 8 hex digits."""
        return self.identity[:8]

    @property
    def used_seeds(self) -> list[Seed]:
        """The runs that the row's numbers are over: the complete ones, or all if none is complete."""
        return [seed for seed in self.seeds if seed.is_complete] or self.seeds

    @property
    def is_ranked(self) -> bool:
        return self.rank is not None

    @property
    def seed_values(self) -> list[int]:
        return [seed.run.seed for seed in self.seeds]

    @property
    def protocol(self) -> Protocol:
        """The latest protocol of the runs."""
        return max((seed.evidence.protocol for seed in self.seeds), key=lambda protocol: protocol.demanded_at)

    def outcomes_under(self, attack: str) -> RowOutcomes:
        """The outcomes of every run under an attack after the last task, of the samples that it covers."""
        samples, correct = {}, {}
        for seed in self.seeds:
            outcomes = seed.evidence.outcomes
            cells = [outcomes.vector(attack, outcomes.last, j) for j in range(outcomes.tasks)]
            samples[seed.run.seed] = [outcomes.samples[j][cell != NOT_MEASURED] for j, cell in enumerate(cells)]
            correct[seed.run.seed] = [cell[cell != NOT_MEASURED] == 1 for cell in cells]
        return RowOutcomes(self.label, samples, correct)

    @property
    def acc(self) -> float:
        """The number that rows are ranked by: ACC of `worst`; NaN where there is none."""
        return self.measures.value(f"ACC_lopezpaz2017 {WORST}")


@dataclass
class Board:
    """All rows of one preset.

    stem: the beginning of the names of its files, short and unlike that of any other board of the report.
    eps: that of the ranking, in units of the pixel range [0, 1].
    tasks: T, the number of tasks.
    matrix, final: names of the attacks after every task and after the last one.
    attacks: every stored attack of some row, by name.
    chances: accuracy of guessing after the last task, by task; empty if not recorded.
    class_counts: the number of classes, by task; empty if not recorded.
    task_names: by task; empty if not recorded.
    rows: the ranked ones by accuracy and label, then the others, likewise.
    comparisons: of all pairs of ranked rows.
    """

    preset: str
    stem: str
    eps: Fraction | None
    tasks: int
    matrix: list[str]
    final: list[str]
    attacks: dict[str, AttackFacts]
    chances: list[float]
    class_counts: list[int]
    task_names: list[str]
    rows: list[Row]
    comparisons: list[Comparison]

    @property
    def chance(self) -> float:
        """The accuracy of guessing after the last task, mean over tasks; NaN if not recorded."""
        return float(np.mean(self.chances)) if self.chances else nan

    @property
    def chances_when_learned(self) -> list[float]:
        """The accuracy of guessing on each task when it was just learned; empty if not recorded."""
        return [1 / seen for seen in accumulate(self.class_counts)] if self.tells_no_task else self.chances

    @property
    def chances_so_far(self) -> list[float]:
        """The accuracy of guessing on the tasks seen so far, their mean, after each task; empty if not recorded."""
        means = [total / number for number, total in enumerate(accumulate(self.chances), 1)]
        return self.chances_when_learned if self.tells_no_task else means

    @property
    def tells_no_task(self) -> bool:
        """True if one head answers among all classes seen."""
        return {row.seeds[0].run.stream_protocol for row in self.ranked or self.rows} == {"class"}

    @property
    def question(self) -> str:
        """The question at test, as words: the task is told, or one head answers among all classes."""
        return "class-incremental: no task told" if self.tells_no_task else "task given"

    @property
    def ranked(self) -> list[Row]:
        return [row for row in self.rows if row.is_ranked]

    @property
    def below(self) -> list[Row]:
        return [row for row in self.rows if not row.is_ranked]

    @property
    def is_published(self) -> bool:
        """True if every row is a tracked record, and none is the user's own."""
        return all(row.published for row in self.rows)

    @property
    def robust_matrix(self) -> str | None:
        """The attack under which robust forgetting is taken: the first of the matrix that is not `clean`."""
        return next((attack for attack in self.matrix if attack != CLEAN), None)

    @property
    def outcomes(self) -> list[str]:
        """The names of all stored outcomes: attacks, their any-iterate outcomes, and every `worst`."""
        return sorted({name for row in self.rows for seed in row.seeds for name in seed.evidence.outcomes.correct})

    @property
    def demanded(self) -> list[str]:
        """The attacks that are demanded of every row."""
        return list(dict.fromkeys([*self.matrix, *self.final]))

    @property
    def shown_matrices(self) -> list[str]:
        """The attacks whose matrices are shown: `clean` and the robust one."""
        return [attack for attack in (CLEAN, self.robust_matrix) if attack]
