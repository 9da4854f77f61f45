"""Training: robust validation accuracy over the seconds that it took, and recipes that rows have for themselves."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd

from reports.boards.board import Board, Row
from results import Run
from results.schema import HARNESS, METHOD

POINTS = 200
"""Points of a curve, evenly spaced in the logarithm of time."""


def progress_of(run: Run) -> dict[int, pd.DataFrame]:
    """The validated epochs by task, or by -1 for all tasks at once.

    Columns: `seconds` of training so far, with all stages and their validation; `best`, the best robust validation accuracy
    so far, in [0, 1].
    """
    log = run.training
    found = {}
    for turn in sorted(log["task"].unique()):
        # Stages are stored in the order in which they ran.
        rows = log[log["task"] == turn]
        frame = pd.DataFrame({"seconds": rows["seconds"].cumsum(), "best": rows["robust_validation"].cummax()})
        found[int(turn)] = frame.dropna().reset_index(drop=True)
    return {turn: frame for turn, frame in found.items() if len(frame)}


def training_curve(row: Row) -> pd.DataFrame:
    """The curve of a row, mean over its tasks and seeds; empty without a log.

    Columns: `seconds` of training per task, `robust_validation`, the best accuracy so far. It begins where every task has been
    validated once. A run that learned all tasks at once counts its seconds per task.
    """
    curves = []
    for seed in row.seeds:
        for turn, frame in progress_of(seed.run).items():
            tasks = seed.evidence.outcomes.tasks if turn < 0 else 1
            curves.append((frame["seconds"].to_numpy() / tasks, frame["best"].to_numpy()))
    if not curves:
        return pd.DataFrame({"seconds": [], "robust_validation": []})
    first, last = max(seconds[0] for seconds, _ in curves), max(seconds[-1] for seconds, _ in curves)
    at = np.unique(np.concatenate([np.geomspace(first, last, POINTS), [first, last]]).clip(first, last))
    best = [values[np.searchsorted(seconds, at, side="right") - 1] for seconds, values in curves]
    return pd.DataFrame({"seconds": at, "robust_validation": np.mean(best, 0)})


def training_table(board: Board) -> pd.DataFrame:
    """The curves of all ranked rows in long form: a line wherever a curve rises, and one at its end."""
    parts = []
    for row in board.ranked:
        curve = training_curve(row)
        keep = curve["robust_validation"].diff().ne(0)
        if len(keep):
            keep.iloc[-1] = True
        parts.append(curve[keep].assign(label=row.label)[["label", "seconds", "robust_validation"]])
    columns = ["label", "seconds", "robust_validation"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


SELECTION = ["selected_epoch", "selected_clean", "selected_robust", "last_clean", "last_robust"]


def selection_table(board: Board) -> pd.DataFrame:
    """The network that every stage of training kept, and the one that it ended with, a line per stage; empty without records.

    Columns: `label`, `seed`, `task` (-1: all at once), `stage`, `selected_epoch` from 0, and validation accuracies in [0, 1],
    clean and under the attack of the recipe: `selected_clean`, `selected_robust`, `last_clean`, `last_robust`.
    """
    parts = []
    for row in board.ranked:
        for seed in row.seeds:
            facts = seed.evidence.facts
            facts = facts[facts["name"].isin(SELECTION) & ~facts["phase"].isin([HARNESS, METHOD])]
            if len(facts):
                stages = facts.pivot_table(
                    index=["task", "phase"], columns="name", values="value", aggfunc="last", sort=False
                )
                stages = (
                    stages.reindex(columns=SELECTION).reset_index(names=["task", "stage"]).rename_axis(columns=None)
                )
                parts.append(stages.assign(label=row.label, seed=seed.run.seed))
    columns = ["label", "seed", "task", "stage", *SELECTION]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def recipes_table(board: Board) -> pd.DataFrame:
    """The rows that differ from the board's recipe or have a source of their own: the differences and the source, as text.

    Empty if every row follows the preset.
    """
    records = []
    for row in board.rows:
        protocol = row.protocol
        if protocol.own_recipe or protocol.source:
            differs = ", ".join(f"{key}: {_text(value)}" for key, value in sorted(protocol.own_recipe.items()))
            records.append({"label": row.label, "recipe differs in": differs or "–", "source": protocol.source or "–"})
    return pd.DataFrame(records)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
