"""The thesis' high-resolution F1 tables, with ours beside them: fractions, as numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from math import nan

import numpy as np
import pandas as pd

from reports.boards.board import Row
from reports.boards.sweeps import strongest
from reports.exhibits.exhibits import Exhibits
from reports.exhibits.scores_table import ENOUGH_SEEDS, covered_by_task, scores_of
from reports.numbers.published_values import HIGH_RESOLUTION, thesis_f1_table
from reports.numbers.statistics.bootstrap import resampled_accuracies
from reports.numbers.statistics.intervals import NO_INTERVAL, Interval, interval, t_interval

FINE_GRAINED = "fine_grained"
"""The scenario whose boards have rows in these tables: a data set per task."""
PUBLISHED, NOT_RUN = "published", "ours"
MEANS = ("precision", "recall", "f1")
"""Columns of the means over the data sets."""
CLEAN_TRAINING = "none"
"""The training attack of a row that learned from clean images alone."""
PLACES = ("method", "train_attack", "eval_attack")
_PGD = "PGD-"
_NAMES = {"cubs": r"cub.*", "stanford_cars": r"(stanford)?cars(196)?", "flowers": r"(oxford)?(102)?flowers(102)?"}
"""The names of tasks, in letters and digits alone, that stand in a published column."""
OWN = "accuracy_"
"""The beginning of the column of a data set that the thesis does not have."""


def fine_grained_boards(exhibits: Sequence[Exhibits]) -> list[Exhibits]:
    """The exhibits of boards with a data set per task."""
    return [each for each in exhibits if each.scenario == FINE_GRAINED]


def columns_of(exhibits: Exhibits) -> list[str]:
    """The column of each task's data set: a published one, or `accuracy_` and the task's own name.

    Of several tasks that are the same data set the first stands in the published column.
    """
    found: list[str] = []
    for name in exhibits.tasks:
        plain = re.sub(r"[^a-z0-9]", "", name.lower())
        column = next((column for column, pattern in _NAMES.items() if re.fullmatch(pattern, plain)), "")
        found.append(column if column and column not in found else OWN + name)
    return found


def fine_grained_table(exhibits: Sequence[Exhibits]) -> pd.DataFrame:
    """A line per published line of the tables and one per row of ours that stands beside it, then a line per further row.

    exhibits: at least one; those of other data have no line.
    preset, values: of ours, the preset and the label of the row; `published` for the others; `ours`, with no number, where no
        ranked row was trained and attacked so.
    A column per data set: accuracy; with _low and _high its 95 % interval, with _images the test images that were attacked.
    precision, recall, f1: macro over whole test sets, then the mean over the data sets that were run (data_sets: how many).
        From three seeds on they have t-intervals.
    f1_of_p_and_r: 2PR/(P+R) of the line's own precision and recall.
    """
    ours = [line for each in fine_grained_boards(exhibits) for line in _lines_of(each)]
    published = exhibits[0].published.fine_grained
    checked = thesis_f1_table(published)["F1_of_its_precision_and_recall"]
    records: list[dict[str, object]] = []
    for printed, f1 in zip(published.to_dict("records"), checked, strict=True):
        place = {name: printed[name] for name in PLACES}
        numbers = {name: printed[name] for name in (*HIGH_RESOLUTION, *MEANS)}
        records.append({**place, "preset": "", "values": PUBLISHED, **numbers, "f1_of_p_and_r": f1})
        beside = [line for line in ours if all(line[name] == place[name] for name in PLACES)]
        records += beside or [{**place, "preset": "", "values": NOT_RUN}]
    known = set(zip(*(published[name] for name in PLACES), strict=True))
    records += [line for line in ours if tuple(line[name] for name in PLACES) not in known]
    table = pd.DataFrame(records)
    order = [*PLACES, "preset", "values", *HIGH_RESOLUTION, *MEANS, "f1_of_p_and_r"]
    return table[[*order, *(name for name in table.columns if name not in order)]]


def data_set_columns(table: pd.DataFrame) -> list[str]:
    """The columns of accuracies: those of the thesis, then those of further data sets."""
    own = [name.removesuffix("_images") for name in table.columns if str(name).endswith("_images")]
    return [*HIGH_RESOLUTION, *(name for name in own if name not in HIGH_RESOLUTION)]


def train_attack_of(row: Row) -> str:
    """The training attack of a row as the thesis names it, such as `PGD-10`; `none` if no attacked image was learned from.

    `FGSM` and `free-8` are fast and free adversarial training, which have attacks of their own and not the recipe's.
    """
    learned = [seed.run.training for seed in row.used_seeds]
    if all(len(records) and records["robust_train"].isna().all() for records in learned):
        return CLEAN_TRAINING
    identity = row.seeds[0].run.identity
    settings = identity.get("settings") or {}
    # A strategy may be trained by an algorithm of its settings.
    chosen = settings.get("training")
    algorithm, of_it = (chosen.get("name"), chosen) if isinstance(chosen, dict) else (row.method, settings)
    if algorithm in ("fast", "fast_at"):
        return "FGSM"
    if algorithm in ("free", "free_at"):
        return f"free-{of_it.get('replays', '')}".rstrip("-")
    attack = (identity.get("recipe") or {}).get("attack") or {}
    return f"{_PGD}{attack.get('steps', 0)}"


def _lines_of(exhibits: Exhibits) -> Iterator[dict[str, object]]:
    """The lines of a board: its ranked rows, each attacked with as many steps of PGD as it was trained with.

    A row that was not trained by PGD has a line for each of the thesis' numbers of steps.
    """
    board, published = exhibits.board, exhibits.published.fine_grained
    attacks = (
        {f"{_PGD}{steps}": attack for steps, attack in exhibits.swept.get(board.eps, {}).items()} if board.eps else {}
    )
    for row in board.ranked:
        trained = train_attack_of(row)
        for name in [trained] if trained.startswith(_PGD) else published["eval_attack"].unique():
            if (
                name in attacks
                and (outcome := strongest(attacks[name], row.measures.matrices)) in row.measures.matrices
            ):
                place = {"method": row.method, "train_attack": trained, "eval_attack": name}
                yield {**place, "preset": board.preset, "values": row.label, **_numbers(exhibits, row, outcome)}


def _numbers(exhibits: Exhibits, row: Row, attack: str) -> dict[str, object]:
    """The numbers of a row under an attack, by column of the table."""
    scores, images = scores_of(row, attack), covered_by_task(row, attack)
    found: dict[str, object] = {}
    for task, column in enumerate(columns_of(exhibits)):
        bounds = _accuracy_interval(row, attack, task, scores[:, task, 0].tolist())
        found |= {column: float(scores[:, task, 0].mean()), f"{column}_low": bounds.low, f"{column}_high": bounds.high}
        found[f"{column}_images"] = images[task]
    for k, name in enumerate(MEANS, start=1):
        values = scores[:, -1, k].tolist()
        bounds = t_interval(values) if len(values) >= ENOUGH_SEEDS else NO_INTERVAL
        found |= {name: float(np.mean(values)), f"{name}_low": bounds.low, f"{name}_high": bounds.high}
    precision, recall = (float(scores[:, -1, k].mean()) for k in (1, 2))
    both = 2 * precision * recall / (precision + recall) if precision + recall else nan
    whose = {"row": row.short_identity, "seeds": len(scores), "attack": attack, "data_sets": len(exhibits.tasks)}
    return found | {"f1_of_p_and_r": both} | whose


def _accuracy_interval(row: Row, attack: str, task: int, values: Sequence[float]) -> Interval:
    outcomes = [seed.evidence.outcomes for seed in row.used_seeds]
    return interval(
        values,
        lambda: [resampled_accuracies(each.vector(attack, each.last, task)[None], task)[:, 0] for each in outcomes],
    )
