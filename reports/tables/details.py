"""Tables behind the leaderboard, one file each: accuracy matrices, per-task scores, sweeps, comparisons and verdicts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from fractions import Fraction
from math import nan

import numpy as np
import pandas as pd

from reports.boards.board import Board, Row
from reports.boards.sweeps import worsts
from reports.numbers.attack_facts import AttackFacts
from reports.numbers.metrics import WORST, accuracy_matrix, task_scores
from reports.numbers.outcomes import NOT_MEASURED
from reports.numbers.statistics.intervals import wilson
from reports.tables.attacks import quality_table
from reports.tables.capacity import capacity_table, owners_table
from reports.tables.entries import entry_names
from reports.tables.training import recipes_table, selection_table, training_table
from results.file_names import file_names


def board_tables(board: Board) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield (file stem, table) for every table of one board."""
    for attack, name in attack_files(board).items():
        yield f"{board.stem}__matrix__{name}", matrix_table(board, attack)
        yield f"{board.stem}__tasks__{name}", task_table(board, attack)
    yield f"{board.stem}__comparisons", comparison_table(board)
    yield f"{board.stem}__verdicts", verdict_table(board)
    yield f"{board.stem}__sweep", sweep_table(board)
    yield f"{board.stem}__attack_quality", quality_table(board)
    of_training = {
        "training": training_table(board),
        "selection": selection_table(board),
        "recipes": recipes_table(board),
        "capacity": capacity_table(board),
        "owners": owners_table(board),
    }
    for name, table in of_training.items():
        if len(table):
            yield f"{board.stem}__{name}", table


def attack_files(board: Board) -> dict[str, str]:
    """By the name of a stored outcome, the words that stand for it in names of files: `pgd-10_linf_8-255_any`."""
    return file_names(board.outcomes)


def names_table(boards: Sequence[Board]) -> pd.DataFrame:
    """The table of names: by which words the files of a report call a preset, an attack or a row.

    preset: the preset of the board.
    kind: `preset`, `attack` or `row`.
    in_files: the words in names of files, such as `pgd-10_linf_8-255`.
    name: the whole name, such as `pgd-10 linf 8/255`.
    """
    records = []
    for board in boards:
        records.append((board.preset, "preset", board.stem, board.preset))
        records += [(board.preset, "attack", name, attack) for attack, name in attack_files(board).items()]
        entries = zip(entry_names(board), board.rows, strict=True)
        records += [(board.preset, "row", name, row.label) for name, row in entries]
    return pd.DataFrame(records, columns=["preset", "kind", "in_files", "name"])


def matrix_table(board: Board, attack: str) -> pd.DataFrame:
    """R in long form, a line per row, seed and stored cell."""
    records = []
    for row in board.rows:
        for seed in row.seeds:
            outcomes = seed.evidence.outcomes
            for (i, j), correct in sorted(outcomes.correct.get(attack, {}).items()):
                covered = correct[correct != NOT_MEASURED]
                records.append((row.label, row.short_identity, seed.run.seed, i, j, covered.mean(), len(covered)))
    columns = ["label", "row", "seed", "after_task", "task", "accuracy", "samples"]
    return pd.DataFrame(records, columns=columns)


def task_table(board: Board, attack: str) -> pd.DataFrame:
    """Accuracy, its Wilson interval, macro precision, recall and F1 per task after the last one, and then their means."""
    records: list[tuple[object, ...]] = []
    for row in board.rows:
        for seed in row.seeds:
            outcomes = seed.evidence.outcomes
            names = dict(zip(seed.evidence.tasks["task"], seed.evidence.tasks["name"], strict=True))
            scores = task_scores(outcomes, attack)
            for j, task_score in enumerate(scores):
                correct = outcomes.vector(attack, outcomes.last, j)
                correct = correct[correct != NOT_MEASURED]
                interval = wilson(int(correct.sum()), len(correct))
                accuracy = correct.mean() if len(correct) else nan
                place = (row.label, row.short_identity, seed.run.seed, j, names.get(j, ""))
                records.append((*place, len(correct), accuracy, interval.low, interval.high, *task_score))
            last = accuracy_matrix(outcomes, attack)[-1]
            mean = (row.label, row.short_identity, seed.run.seed, "mean", "")
            records.append((*mean, outcomes.covered(attack), last.mean(), nan, nan, *np.mean(scores, 0)))
    columns = ["label", "row", "seed", "task", "name", "samples", "accuracy", "wilson_low", "wilson_high"]
    return pd.DataFrame(records, columns=[*columns, "macro_precision", "macro_recall", "macro_F1"])


def comparison_table(board: Board) -> pd.DataFrame:
    """All pairs of ranked rows: the difference in ACC of `worst`, its interval, the test and Holm's correction."""
    fields = ("first", "second", "difference", "low", "high", "p", "p_holm", "better", "test", "seeds", "samples")
    records = [[getattr(c, name) for name in (*fields, "bootstrap_low", "bootstrap_high")] for c in board.comparisons]
    table = pd.DataFrame(records, columns=[*fields, "bootstrap_low", "bootstrap_high"]).rename(
        columns={"seeds": "common_seeds"}
    )
    table["better"] = table["better"].fillna("")
    return table


def verdict_table(board: Board) -> pd.DataFrame:
    """Every verdict on every run. samples: some that show it, as task:sample."""
    records = [
        (
            row.label,
            row.short_identity,
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

    eps_255, step_in_eps: eps in units of 1/255, and the step size in units of eps, as numbers to plot beside the exact ones.
    specification: every other field, as JSON.
    final, any: final-iterate and any-iterate accuracy; attacks that end with the worst iterate have only the first.
    samples: their number over all tasks, in the seed that has the fewest. Attacks on different samples differ by that too.
    """
    worst = {name: AttackFacts(name, WORST, *threat, 0, None, 0, "") for name, threat in worsts(board).items()}
    records = []
    for row in board.rows:
        for attack in (*board.attacks.values(), *worst.values()):
            if attack.name in row.measures.matrices:
                final, any_ = _with_bounds(row, attack.name), _with_bounds(row, attack.any)
                samples = min(seed.evidence.outcomes.covered(attack.name) for seed in row.used_seeds)
                place = (row.label, row.short_identity, len(row.used_seeds), attack.name)
                records.append((*place, *_specified(attack), *final, *any_, samples))
    columns = ["label", "row", "seeds", "attack", "kind", "norm", "eps", "eps_255", "steps", "step_size", "step_in_eps"]
    columns += ["restarts", "loss", "specification", "final", "final_low", "final_high", "any", "any_low", "any_high"]
    return pd.DataFrame(records, columns=[*columns, "samples"])


def _with_bounds(row: Row, attack: str) -> tuple[float, float, float]:
    column = f"ACC_lopezpaz2017 {attack}"
    bounds = row.measures.bounds(column)
    return row.measures.value(column), bounds.low, bounds.high


def _specified(attack: AttackFacts) -> tuple[object, ...]:
    """The columns `kind` to `specification` of `sweep_table`; empty if an attack has no such field."""

    def number(value: Fraction | None) -> float:
        return nan if value is None else float(value)

    def text(value: Fraction | None) -> str:
        return "" if value is None else str(value)

    rest = json.dumps({name: json.loads(value) for name, value in attack.rest}, sort_keys=True) if attack.rest else ""
    eps_255 = None if attack.eps is None else 255 * attack.eps
    return (
        attack.kind, attack.norm, text(attack.eps), number(eps_255), attack.steps or "", text(attack.step_size),
        number(attack.step_in_eps), attack.restarts or "", attack.loss, rest,
    )  # fmt: skip
