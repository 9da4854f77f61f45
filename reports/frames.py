"""The report's tables in Python: `frames.Tables(load())` has them as pandas frames, with the numbers of its CSV files.

Accuracies are fractions, NaN for missing numbers. A frame holds all boards: its first column is the preset. In the leaderboard
that column stands where the CSV has it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import pandas as pd

from reports.boards.board import Board
from reports.boards.building import build_boards
from reports.numbers.metrics import CLEAN, WORST
from reports.tables import details as tables
from reports.tables.attacks import quality_table
from reports.tables.leaderboard import wide_table
from results import Results, Run


class Tables:
    """The tables of all stored runs. They are built when first asked for, from one reading of the records."""

    def __init__(self, results: Results) -> None:
        self.results = results

    @cached_property
    def boards(self) -> list[Board]:
        """One board per preset; `board.rows` are its rows, with their measures and verdicts."""
        return build_boards(self.results)

    @cached_property
    def leaderboard(self) -> pd.DataFrame:
        """`leaderboard.csv`: a line per row. rank is Int64, and missing below the line."""
        table = wide_table(self.boards)
        return table.assign(rank=pd.to_numeric(table["rank"], errors="coerce").astype("Int64"))

    @cached_property
    def attacks(self) -> list[str]:
        """The names of all stored outcomes, which `matrices` and `tasks` take."""
        return sorted(set().union(*(board.outcomes for board in self.boards)))

    def matrices(self, attack: str = CLEAN) -> pd.DataFrame:
        """`tables/*__matrix__*.csv`: R in long form, a line per row, seed, after_task and task."""
        return self._of_attack(attack, tables.matrix_table)

    def tasks(self, attack: str = WORST) -> pd.DataFrame:
        """`tables/*__tasks__*.csv`: per task after the last one, and their mean: accuracy, Wilson, macro scores."""
        return self._of_attack(attack, tables.task_table)

    @cached_property
    def comparisons(self) -> pd.DataFrame:
        """`tables/*__comparisons.csv`: all pairs of ranked rows, with Holm's correction."""
        return _together(self.boards, tables.comparison_table)

    @cached_property
    def verdicts(self) -> pd.DataFrame:
        """`tables/*__verdicts.csv`: every check on every run."""
        return _together(self.boards, tables.verdict_table)

    @cached_property
    def sweep(self) -> pd.DataFrame:
        """`tables/*__sweep.csv`: ACC of every row under every attack, beside the attack's specification."""
        return _together(self.boards, tables.sweep_table)

    @cached_property
    def attack_quality(self) -> pd.DataFrame:
        """`tables/*__attack_quality.csv`: how near each attack comes to the best of all, on every row."""
        return _together(self.boards, quality_table)

    def predictions(self, label: str, preset: str | None = None) -> pd.DataFrame:
        """The predictions of the runs with this label, image by image: `results.schema.PREDICTIONS` behind row and seed.

        preset: only runs that it demanded; None for all. Raises ValueError if there is no such run.
        """
        found = [run for run in self.results.runs if run.label == label and (preset is None or preset in run.protocols)]
        if not found:
            labels = ", ".join(sorted({run.label for run in self.results.runs})) or "none"
            raise ValueError(f"no stored run is labelled {label!r}; there are: {labels}")
        return pd.concat([_named(run) for run in sorted(found, key=lambda run: (run.row, run.seed))], ignore_index=True)

    def _of_attack(self, attack: str, table: Callable[[Board, str], pd.DataFrame]) -> pd.DataFrame:
        if attack not in self.attacks:
            raise ValueError(f"no stored attack is named {attack!r}; there are: {', '.join(self.attacks) or 'none'}")
        return _together(
            [board for board in self.boards if attack in board.outcomes], lambda board: table(board, attack)
        )


def _together(boards: Sequence[Board], table: Callable[[Board], pd.DataFrame]) -> pd.DataFrame:
    filled = [frame.assign(preset=board.preset) for board in boards if len(frame := table(board))]
    merged = pd.concat(filled or [pd.DataFrame(columns=["preset"])], ignore_index=True)
    return merged[["preset", *merged.columns.drop("preset")]]


def _named(run: Run) -> pd.DataFrame:
    frame = run.predictions.copy()
    frame.insert(0, "row", run.row[:8])
    frame.insert(1, "seed", run.seed)
    return frame
