"""Tables of a board about capacity: what every task decided, what is left for the next, and who owns what."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

from reports.boards.board import OTHER_PROTOCOL, SUPERSEDED, Board, Row, Seed
from reports.numbers.capacity import DECISIONS, OWNERS, decisions, owners
from reports.numbers.proofs import Proof, proofs
from reports.tables.words import label_of, percent

NOTHING = "–"


def shown_seed(row: Row) -> Seed | None:
    """The first seed with recorded capacity: what page and figures show of a row."""
    return next((seed for seed in row.seeds if len(decisions(seed.evidence.facts))), None)


def has_other_seeds(rows: list[Row]) -> bool:
    """Whether some of these rows have more seeds than the one that is shown."""
    return any(len(row.seeds) > 1 and shown_seed(row) is not None for row in rows)


def shown_rows(board: Board) -> list[Row]:
    """The rows of the table for reading: all that are not set aside, unfinished ones too."""
    return [row for row in board.rows if row.verdict not in (SUPERSEDED, OTHER_PROTOCOL)]


def capacity_table(board: Board) -> pd.DataFrame:
    """Every row, seed and task: what was decided, what is left, and whether a fresh process found the task unchanged."""
    records = []
    for row in board.rows:
        for seed in row.seeds:
            place = {"label": row.label, "row": row.identity[:8], "seed": seed.run.seed}
            for task, name, proof, values in _tasks(seed):
                found = proof or Proof({})
                same = {f"same_{kind}": found.same.get(kind, math.nan) for kind in ("classifier", "logits")}
                attacks = {"attacks_repeated": found.attacks, "attacks_same": found.repeated} if proof else {}
                records.append({**place, "task": task, "name": name, **values, **same, **attacks})
    first = ("label", "row", "seed", "task", "name")
    last = ("same_classifier", "same_logits", "attacks_repeated", "attacks_same")
    frame = pd.DataFrame(records, columns=[*first, *DECISIONS, *last])
    return frame.astype({"shared_weights": "Int64"})


def owners_table(board: Board) -> pd.DataFrame:
    """Every row, seed, task, layer and owner: how many of the layer's weights it owns after that task."""
    frames = [
        owners(seed.evidence.facts).assign(label=row.label, row=row.identity[:8], seed=seed.run.seed)
        for row in board.rows
        for seed in row.seeds
    ]
    found = [frame for frame in frames if len(frame)]
    columns = ["label", "row", "seed", *OWNERS]
    return pd.concat(found, ignore_index=True)[columns] if found else pd.DataFrame(columns=columns)


def decisions_table(board: Board) -> pd.DataFrame:
    """For reading: one seed of each row, as text; accuracies and shares in percent."""
    records = []
    for row in shown_rows(board):
        seed = shown_seed(row)
        for task, name, proof, values in [] if seed is None else _tasks(seed):
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
    """What the table for reading is of, and of which seeds."""
    text = (
        "Right after each task was learned. Goal ± tolerance, and what was reached: validation accuracy in percent, under attack "
        "where the method trains under one. Ratio: share of the capacity open to it that the task handed back. mu: size of the "
        "network, in parameters. Owned, free: of all shared weights; picked: of earlier tasks' weights. Never changed since: "
        "what a fresh process found that had nothing but the last state."
    )
    others = has_other_seeds(shown_rows(board))
    return text + (" Of rows with several seeds the first; all are in tables/." if others else "")


def _tasks(seed: Seed) -> Iterator[tuple[int, str, Proof | None, dict[str, Any]]]:
    """Task, its name, what the proof found, and the values of `decisions`, for every task with recorded capacity."""
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
