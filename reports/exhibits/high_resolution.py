"""The thesis' high-resolution F1 tables, with ours beside them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import nan

import pandas as pd

from reports.boards.sweeps import strongest
from reports.exhibits.exhibits import PRINTED_ERROR, Exhibits
from reports.exhibits.scores_table import scores_of
from reports.numbers.published_values import HIGH_RESOLUTION, thesis_f1_table
from reports.tables.words import NOT_AVAILABLE

PUBLISHED = "published"


def fine_grained_table(exhibits: Sequence[Exhibits]) -> pd.DataFrame:
    """Two lines, published and ours, per line of the thesis' high-resolution tables: fractions, NaN for missing numbers.

    exhibits: at least one.
    Column f1_of_p_and_r: 2PR/(P+R) of the line's own precision and recall.
    """
    published = exhibits[0].published.fine_grained
    checked = thesis_f1_table(published)["F1_of_its_precision_and_recall"]
    columns = [*HIGH_RESOLUTION, "precision", "recall", "f1"]
    records = []
    for line, f1 in zip(published.to_dict("records"), checked, strict=True):
        place = {name: line[name] for name in ("method", "train_attack", "eval_attack")}
        records.append({**place, "values": PUBLISHED, **{name: line[name] for name in columns}, "f1_of_p_and_r": f1})
        found = next(filter(None, (_ours(each, **place) for each in exhibits)), {})
        ours = {name: found.get(name, nan) for name in [*columns, "f1_of_p_and_r"]}
        records.append({**place, "values": found.get("label", "ours"), **ours})
    return pd.DataFrame(records)


def _ours(exhibits: Exhibits, method: str, train_attack: str, eval_attack: str) -> dict[str, object]:
    """Our numbers for a line of the high-resolution tables: the row trained and attacked with as many steps of PGD.

    Empty if the board's tasks are not these data sets, or if no ranked row was trained and attacked so.
    """
    board = exhibits.board
    places = {name: board.task_names.index(name) for name in HIGH_RESOLUTION if name in board.task_names}
    if len(places) < len(HIGH_RESOLUTION):
        return {}
    attack = exhibits.swept.get(board.eps, {}).get(_steps(eval_attack)) if board.eps else None
    for row in (row for row in board.ranked if row.method == method and attack is not None):
        recipe = row.seeds[0].run.identity.get("recipe") or {}
        if attack is not None and (recipe.get("attack") or {}).get("steps") == _steps(train_attack):
            scores = scores_of(row, strongest(attack, row.measures.matrices)).mean(0)
            precision, recall, f1 = scores[list(places.values()), 1:].mean(0)
            accuracies = {name: scores[task, 0] for name, task in places.items()}
            both = {"precision": precision, "recall": recall, "f1": f1}
            both["f1_of_p_and_r"] = 2 * precision * recall / (precision + recall)
            return {"label": row.label, **accuracies, **both}
    return {}


def _steps(attack: str) -> int:
    """The number of steps: `PGD-10` → 10; 0 for another attack."""
    found = re.fullmatch(r"PGD-(\d+)", attack)
    return int(found[1]) if found else 0


def fine_grained_for_reading(table: pd.DataFrame, method: str) -> pd.DataFrame:
    """The high-resolution table of a method as the thesis lays it out: fractions with four decimals."""
    lines = table[table["method"] == method]
    both = zip(lines["train_attack"], lines["eval_attack"], strict=True)
    titles = {**HIGH_RESOLUTION, "precision": "Precision", "recall": "Recall", "f1": "F1-score"}
    titles["f1_of_p_and_r"] = "2PR/(P+R)"
    numbers = {
        title: [NOT_AVAILABLE if value != value else f"{value:.4f}" for value in lines[name]]
        for name, title in titles.items()
    }
    attacks = [f"PGD({_steps(train)})/PGD({_steps(test)})" for train, test in both]
    return pd.DataFrame({"attack": attacks, "label": lines["values"].tolist(), **numbers})


def fine_grained_caption(table: pd.DataFrame) -> str:
    """The words over the tables: printed F1 that follow from their precision and recall, and corrections of the others."""
    printed = table[table["values"] == PUBLISHED]
    wrong = printed[(printed["f1"] - printed["f1_of_p_and_r"]).abs() > PRINTED_ERROR]
    text = (
        f"Attack: in training / at test. Fractions. {len(printed) - len(wrong)} of the {len(printed)} printed F1 equal "
        "2PR/(P+R) of the printed precision and recall"
    )
    text += "".join(f"; {line.f1:.4f} should be {line.f1_of_p_and_r:.4f}" for line in wrong.itertuples())
    accuracies = printed[list(HIGH_RESOLUTION)].to_numpy()
    return (
        f"{text}. They are the F1 of a last batch of a few classes: {printed['f1'].min():.2f} and more beside accuracies of "
        f"{accuracies.min():.2f} to {accuracies.max():.2f} is no macro F1 of a data set. Ours is over whole test sets; n/a "
        "until these data sets are run."
    )
