"""Tables of a board about capacity: decisions of every task, capacity that is left, and owners of weights."""

from __future__ import annotations

from collections.abc import Iterator
from math import nan
from typing import Any

import pandas as pd

from reports.boards.board import SET_ASIDE, Board, Row, Seed
from reports.numbers.capacity import DECISIONS, OWNERS, decisions, owners
from reports.numbers.proofs import Proof, proofs
from reports.tables.words import label_of, percent

NOTHING = "–"
"""A cell without a value, in tables for reading."""


def shown_seed(row: Row) -> Seed | None:
    """The first seed with recorded capacity. Page and figures show only this one of a row."""
    return next((seed for seed in row.seeds if len(decisions(seed.evidence.facts))), None)


def has_other_seeds(rows: list[Row]) -> bool:
    """True if some of these rows have more seeds than the shown one."""
    return any(len(row.seeds) > 1 and shown_seed(row) is not None for row in rows)


def shown_rows(board: Board) -> list[Row]:
    """The rows of the table for reading: all that are not set aside, unfinished ones too."""
    return [row for row in board.rows if row.verdict not in SET_ASIDE]


def capacity_table(board: Board) -> pd.DataFrame:
    """Decisions, capacity that is left, and the proof of every task, by row and seed, with numbers as stored."""
    records = []
    for row in board.rows:
        for seed in row.seeds:
            place = {"label": row.label, "row": row.short_identity, "seed": seed.run.seed}
            for task, name, proof, values in _decided_tasks(seed):
                found = proof or Proof({})
                same = {f"same_{kind}": found.same.get(kind, nan) for kind in ("classifier", "logits")}
                attacks = {"attacks_repeated": found.attacks, "attacks_same": found.repeated} if proof else {}
                records.append({**place, "task": task, "name": name, **values, **same, **attacks})
    first = ("label", "row", "seed", "task", "name")
    last = ("same_classifier", "same_logits", "attacks_repeated", "attacks_same")
    frame = pd.DataFrame(records, columns=[*first, *DECISIONS, *last])
    return frame.astype({"shared_weights": "Int64"})


def owners_table(board: Board) -> pd.DataFrame:
    """The number of a layer's weights that an owner has after a task, by row, seed, task, layer and owner."""
    frames = [
        owners(seed.evidence.facts).assign(label=row.label, row=row.short_identity, seed=seed.run.seed)
        for row in board.rows
        for seed in row.seeds
    ]
    found = [frame for frame in frames if len(frame)]
    columns = ["label", "row", "seed", *OWNERS]
    return pd.concat(found, ignore_index=True)[columns] if found else pd.DataFrame(columns=columns)


def decisions_table(board: Board) -> pd.DataFrame:
    """`capacity_table` for reading: one seed of each row, as text; accuracies and shares in percent."""
    records = []
    for row in shown_rows(board):
        seed = shown_seed(row)
        for task, name, proof, values in [] if seed is None else _decided_tasks(seed):
            records.append(
                {
                    "label": label_of(row),
                    "task": f"{task} {name}".strip(),
                    "goal": _goal(values["goal"], values["tolerance"]),
                    "reached": _percent(values["reached"]),
                    "met": {1.0: "yes", 0.0: "no"}.get(values["goal_met"], NOTHING),
                    "ratio": _number(values["prune_ratio"]),
                    "mu": _number(values["mu"]),
                    "owned %": _percent(values["owned_share"]) + (" exhausted" if values["exhausted"] else ""),
                    "free %": _percent(values["free_share"]),
                    "picked %": _percent(values["picked_share"]),
                    "never changed since": NOTHING if proof is None else str(proof),
                }
            )
    return pd.DataFrame(records)


def decisions_caption(board: Board) -> str:
    """The words over the table for reading."""
    text = (
        "Right after each task was learned. Goal ± tolerance, reached: validation accuracy in percent, under attack if the "
        "method trains under one. Ratio: share of the capacity open to it that the task handed back. mu: size of the network, in "
        "parameters, as a multiple of the start. Owned, free: of all shared weights; picked: of earlier tasks' weights. Never "
        "changed since: the finding of a fresh process that had nothing but the last state."
    )
    others = has_other_seeds(shown_rows(board))
    return text + (" Rows with several seeds: the first; all are in tables/." if others else "")


def _decided_tasks(seed: Seed) -> Iterator[tuple[int, str, Proof | None, dict[str, Any]]]:
    """Yield the task, its name, its proof and the values of `decisions`, for every task with recorded capacity."""
    evidence = seed.evidence
    names = dict(zip(evidence.tasks["task"].tolist(), evidence.tasks["name"].tolist(), strict=True))
    proven = proofs(evidence.facts)
    frame = decisions(evidence.facts)
    for task, *values in frame.itertuples(name=None):
        yield task, str(names.get(task, "")), proven.get(task), dict(zip(frame.columns, values, strict=True))


def _goal(goal: float, tolerance: float) -> str:
    if goal != goal:
        return NOTHING
    return percent(goal) + ("" if tolerance != tolerance else f" ± {percent(tolerance)}")


def _percent(value: float) -> str:
    return NOTHING if value != value else percent(value)


def _number(value: float) -> str:
    return NOTHING if value != value else f"{value:.3g}"
