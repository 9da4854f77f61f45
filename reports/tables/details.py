"""Tables behind the leaderboard, one file each: accuracy matrices, per-task scores, sweeps, comparisons and verdicts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np
import pandas as pd

from reports.boards.board import Board, Row
from reports.boards.sweeps import worsts
from reports.numbers.attack_facts import AttackFacts
from reports.numbers.metrics import WORST, accuracy_matrix, task_scores
from reports.numbers.outcomes import Outcomes
from reports.numbers.statistics.intervals import wilson
from reports.tables.capacity import capacity_table, owners_table
from reports.tables.entries import entry_names
from reports.tables.training import recipes_table, training_table
from results.file_names import file_names


def board_tables(board: Board) -> Iterator[tuple[str, pd.DataFrame]]:
    """(file stem, table) of everything about one board."""
    for attack, name in attack_files(board).items():
        yield f"{board.stem}__matrix__{name}", matrix_table(board, attack)
        yield f"{board.stem}__tasks__{name}", task_table(board, attack)
    yield f"{board.stem}__comparisons", comparison_table(board)
    yield f"{board.stem}__verdicts", verdict_table(board)
    yield f"{board.stem}__sweep", sweep_table(board)
    more = {
        "training": training_table(board),
        "recipes": recipes_table(board),
        "capacity": capacity_table(board),
        "owners": owners_table(board),
    }
    for name, table in more.items():
        if len(table):
            yield f"{board.stem}__{name}", table


def attack_files(board: Board) -> dict[str, str]:
    """By the name of every stored outcome, such as `pgd-10 linf 8/255 any`, the part of file names that stands for it."""
    outcomes = {name for row in board.rows for seed in row.seeds for name in seed.evidence.outcomes.correct}
    return file_names(sorted(outcomes))


def names_table(boards: Sequence[Board]) -> pd.DataFrame:
    """The whole names behind the names of files. kind: preset, attack or row; in_files: its part of the names of files."""
    records = []
    for board in boards:
        records.append((board.preset, "preset", board.stem, board.preset))
        records += [(board.preset, "attack", name, attack) for attack, name in attack_files(board).items()]
        entries = zip(entry_names(board), board.rows, strict=True)
        records += [(board.preset, "row", name, row.label) for name, row in entries]
    return pd.DataFrame(records, columns=["preset", "kind", "in_files", "name"])


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
    fields = ("first", "second", "difference", "low", "high", "p", "p_holm", "better", "test", "seeds", "samples")
    records = [[getattr(c, name) for name in (*fields, "bootstrap_low", "bootstrap_high")] for c in board.comparisons]
    table = pd.DataFrame(records, columns=[*fields, "bootstrap_low", "bootstrap_high"]).rename(
        columns={"seeds": "common_seeds"}
    )
    table["better"] = table["better"].fillna("")
    return table


def verdict_table(board: Board) -> pd.DataFrame:
    """Every check on every run. samples: some that show what was found, as task:sample."""
    records = [
        (
            row.label,
            row.identity[:8],
            seed.run.seed,
            v.check,
            v.status,
            v.reason,
            v.measures,
            v.threshold,
            v.evidence,
            v.cost,
            " ".join(f"{task}:{sample}" for task, sample in v.samples),
        )
        for row in board.rows
        for seed in row.seeds
        for v in seed.verdicts
    ]
    columns = [
        "label",
        "row",
        "seed",
        "check",
        "status",
        "reason",
        "measures",
        "threshold",
        "evidence",
        "cost",
        "samples",
    ]
    return pd.DataFrame(records, columns=columns)


def sweep_table(board: Board) -> pd.DataFrame:
    """ACC of every row under every attack after the last task, mean over seeds, beside the attack's specification.

    Numbers to plot stand beside exact ones: eps_255 is eps in units of 1/255, step_in_eps the step size in units of eps.
    specification: every other field, as JSON. final and any: final-iterate and any-iterate accuracy; attacks that end with
    the worst they met have the first alone. samples: over how many of all tasks together, in the seed that has the fewest;
    attacks on different samples differ by that too.
    """
    worst = {name: AttackFacts(name, WORST, *threat, 0, None, 0, "") for name, threat in worsts(board).items()}
    records = []
    for row in board.rows:
        used = [seed for seed in row.seeds if seed.is_complete] or row.seeds
        for attack in (*board.attacks.values(), *worst.values()):
            if attack.name in row.measures.matrices:
                final, any_ = _with_bounds(row, attack.name), _with_bounds(row, attack.any)
                samples = min(_covered(seed.evidence.outcomes, attack.name) for seed in used)
                place = (row.label, row.identity[:8], len(used), attack.name)
                records.append((*place, *_specified(attack), *final, *any_, samples))
    columns = ["label", "row", "seeds", "attack", "kind", "norm", "eps", "eps_255", "steps", "step_size", "step_in_eps"]
    columns += ["restarts", "loss", "specification", "final", "final_low", "final_high", "any", "any_low", "any_high"]
    return pd.DataFrame(records, columns=[*columns, "samples"])


def _covered(outcomes: Outcomes, attack: str) -> int:
    return sum(int((outcomes.vector(attack, outcomes.last, j) >= 0).sum()) for j in range(outcomes.tasks))


def _with_bounds(row: Row, attack: str) -> tuple[float, float, float]:
    column = f"ACC_lopezpaz2017 {attack}"
    bounds = row.measures.bounds(column)
    return row.measures.value(column), bounds.low, bounds.high


def _specified(attack: AttackFacts) -> tuple[object, ...]:
    """The columns kind to specification of `sweep_table`; empty where an attack has no such field."""

    def number(value: Fraction | None) -> float:
        return float("nan") if value is None else float(value)

    def text(value: Fraction | None) -> str:
        return "" if value is None else str(value)

    rest = json.dumps({name: json.loads(value) for name, value in attack.rest}, sort_keys=True) if attack.rest else ""
    eps_255 = None if attack.eps is None else 255 * attack.eps
    return (
        attack.kind, attack.norm, text(attack.eps), number(eps_255), attack.steps or "", text(attack.step_size),
        number(attack.step_in_eps), attack.restarts or "", attack.loss, rest,
    )  # fmt: skip
