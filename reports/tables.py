"""Tables behind the leaderboard, one file each: accuracy matrices, per-task scores, comparisons and verdicts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pandas as pd

from reports.boards import Board
from reports.capacity_tables import capacity_table, owners_table
from reports.metrics import accuracy_matrix, task_scores
from reports.statistics import wilson


def file_name(text: str) -> str:
    """A name that is safe in any file system: `pgd-10 linf 51/255 any` → `pgd-10_linf_51-255_any`."""
    return re.sub(r"[^A-Za-z0-9._=-]+", "_", text.replace("/", "-")).strip("_.") or "_"


def board_tables(board: Board) -> Iterator[tuple[str, pd.DataFrame]]:
    """(file stem, table) of everything about one board."""
    prefix = file_name(board.preset)
    names = sorted({name for row in board.rows for seed in row.seeds for name in seed.evidence.outcomes.correct})
    for attack in names:
        yield f"{prefix}__matrix__{file_name(attack)}", matrix_table(board, attack)
        yield f"{prefix}__tasks__{file_name(attack)}", task_table(board, attack)
    yield f"{prefix}__comparisons", comparison_table(board)
    yield f"{prefix}__verdicts", verdict_table(board)
    for name, table in (("capacity", capacity_table(board)), ("owners", owners_table(board))):
        if len(table):
            yield f"{prefix}__{name}", table


def matrix_table(board: Board, attack: str) -> pd.DataFrame:
    """R in long form: one line per row, seed and cell that was measured."""
    records = []
    for row in board.rows:
        for seed in row.seeds:
            outcomes = seed.evidence.outcomes
            for (i, j), correct in sorted(outcomes.correct.get(attack, {}).items()):
                measured = correct[correct >= 0]
                records.append((row.label, row.identity[:8], seed.run.seed, i, j, measured.mean(), len(measured)))
    columns = ["label", "row", "seed", "after_task", "task", "accuracy", "samples"]
    return pd.DataFrame(records, columns=columns)


def task_table(board: Board, attack: str) -> pd.DataFrame:
    """Per task after the last one: accuracy, its Wilson interval, macro precision, recall and F1; then their mean."""
    records: list[tuple[object, ...]] = []
    for row in board.rows:
        for seed in row.seeds:
            outcomes = seed.evidence.outcomes
            names = dict(zip(seed.evidence.tasks["task"], seed.evidence.tasks["name"], strict=True))
            scores = task_scores(outcomes, attack)
            for j, task_score in enumerate(scores):
                correct = outcomes.vector(attack, outcomes.last, j)
                correct = correct[correct >= 0]
                interval = wilson(int(correct.sum()), len(correct))
                accuracy = correct.mean() if len(correct) else float("nan")
                place = (row.label, row.identity[:8], seed.run.seed, j, names.get(j, ""))
                records.append((*place, len(correct), accuracy, interval.low, interval.high, *task_score))
            last = accuracy_matrix(outcomes, attack)[-1]
            mean = (row.label, row.identity[:8], seed.run.seed, "mean", "")
            measured = sum(int((outcomes.vector(attack, outcomes.last, j) >= 0).sum()) for j in range(outcomes.tasks))
            nan = float("nan")
            records.append((*mean, measured, last.mean(), nan, nan, *np.mean(scores, 0)))
    columns = ["label", "row", "seed", "task", "name", "samples", "accuracy", "wilson_low", "wilson_high"]
    return pd.DataFrame(records, columns=[*columns, "macro_precision", "macro_recall", "macro_F1"])


def comparison_table(board: Board) -> pd.DataFrame:
    """All pairs of ranked rows: difference in ACC of worst, its interval, the test and Holm's correction."""
    records = [
        (c.first, c.second, c.difference, c.low, c.high, c.p, c.p_holm, c.better or "", c.test, c.seeds, c.samples)
        for c in board.comparisons
    ]
    columns = [
        "first",
        "second",
        "difference",
        "low",
        "high",
        "p",
        "p_holm",
        "better",
        "test",
        "common_seeds",
        "samples",
    ]
    return pd.DataFrame(records, columns=columns)


def verdict_table(board: Board) -> pd.DataFrame:
    """Every check on every run."""
    records = [
        (row.label, row.identity[:8], seed.run.seed, v.check, v.status, v.reason, v.measures, v.threshold, v.evidence)
        for row in board.rows
        for seed in row.seeds
        for v in seed.verdicts
    ]
    columns = ["label", "row", "seed", "check", "status", "reason", "measures", "threshold", "evidence"]
    return pd.DataFrame(records, columns=columns)


def attack_table(board: Board) -> pd.DataFrame:
    """The attacks of a board and their specification."""

    def text(value: Fraction | None) -> str:
        return "" if value is None else str(value)

    records = [
        (a.name, a.kind, a.norm, text(a.eps), a.steps, text(a.step_size), a.restarts, a.loss, a.eps == board.eps)
        for a in board.attacks.values()
    ]
    columns = ["attack", "kind", "norm", "eps", "steps", "step_size", "restarts", "loss", "in_worst"]
    return pd.DataFrame(records, columns=columns)
