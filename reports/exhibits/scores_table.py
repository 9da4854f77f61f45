"""Precision, recall and F1 by task over whole test sets, beside the thesis' logs."""

from __future__ import annotations

from math import nan

import numpy as np
import pandas as pd

from reports.boards.board import Row
from reports.boards.sweeps import strongest
from reports.exhibits.exhibits import PRINTED_ERROR, Exhibits
from reports.numbers.metrics import CLEAN, WORST, Array, accuracy, task_scores
from reports.numbers.outcomes import NOT_MEASURED
from reports.numbers.statistics.intervals import NO_INTERVAL, Interval, t_interval
from reports.numbers.wording import counted
from reports.tables.words import percent, short_name

SCORES = ("accuracy", "precision", "recall", "F1")
ENOUGH_SEEDS = 3
"""Seeds from which on scores have t-intervals."""
MEAN = "mean"
LOG_TITLES = {
    "goal_file": "goal",
    "pgd_train_pgd_eval": "PGD, PGD",
    "pgd_train_fgsm_eval": "PGD, FGSM",
    "pgd_train_clean_eval": "PGD, clean",
    "fgsm_train_fgsm_eval": "FGSM, FGSM",
    "fgsm_train_pgd_eval": "FGSM, PGD",
}
"""The titles of the thesis' logs by column: training attack, then test attack."""


def scores_of(row: Row, attack: str) -> Array:
    """Accuracy, macro precision, recall and F1 after the last task: (seeds, tasks + 1, 4), the last line the mean over tasks."""
    found = []
    for outcomes in (seed.evidence.outcomes for seed in row.used_seeds):
        right = [accuracy(outcomes.vector(attack, outcomes.last, task)) for task in range(outcomes.tasks)]
        scores = np.column_stack([right, task_scores(outcomes, attack)])
        found.append(np.vstack([scores, scores.mean(0)]))
    return np.stack(found)


def scored_attacks(exhibits: Exhibits, row: Row) -> list[str]:
    """`clean`, the matrix' attack (any-iterate if stored) and `worst`, if the row has them."""
    board, stored = exhibits.board, row.measures.matrices
    robust = board.attacks.get(board.robust_matrix or "")
    names = [CLEAN, *([strongest(robust, stored)] if robust else []), WORST]
    return [name for name in names if name in stored]


def scores_table(exhibits: Exhibits) -> pd.DataFrame:
    """The scores of every ranked row, attack and task, and their means over tasks: fractions, means over seeds.

    Three seeds or more have t-intervals.
    samples: those of the task, in the seed that has the fewest.
    log_*: the numbers that the thesis logged for the task of this name.
    """
    logs = _logs(exhibits)
    records = []
    for row in exhibits.board.ranked:
        for attack in scored_attacks(exhibits, row):
            scores, samples = scores_of(row, attack), covered_by_task(row, attack)
            for task, name in enumerate([*exhibits.tasks, MEAN]):
                place = {"label": row.label, "row": row.short_identity, "seeds": len(scores), "attack": attack}
                record: dict[str, object] = {**place, "task": name, "samples": samples[task]}
                for k, score in enumerate(SCORES):
                    mean, bounds = _over_seeds(scores[:, task, k])
                    record |= {score: mean, f"{score}_low": bounds.low, f"{score}_high": bounds.high}
                records.append(record | {f"log_{column}": logs[column].get(name, nan) for column in logs.columns})
    return pd.DataFrame(records)


def scores_table_for_reading(exhibits: Exhibits, row: Row) -> pd.DataFrame:
    """The scores of one row by task, in percent, four under each attack; ± half a t-interval from three seeds on.

    Attacks are named by their kind and steps; `scores_caption` gives their full names.
    """
    names = [*exhibits.tasks, MEAN]
    table = {"task": names}
    for attack in scored_attacks(exhibits, row):
        scores = scores_of(row, attack)
        for k, score in enumerate(SCORES):
            table[f"{attack.partition(' ')[0]} {score}"] = [
                _score_cell(scores[:, task, k]) for task in range(len(names))
            ]
    logs = _logs(exhibits)
    if len(logs):
        for column in ("pgd_train_clean_eval", "pgd_train_pgd_eval"):
            table[f"log: {LOG_TITLES[column]}"] = [percent(logs[column].get(name, nan)) for name in names]
    return pd.DataFrame(table)


def logs_table(exhibits: Exhibits) -> pd.DataFrame:
    """The thesis' logs of the board's tasks, in percent, with their mean and the mean of all its superclasses.

    Empty if it logged none of them.
    """
    logs = _logs(exhibits)
    if not len(logs):
        return pd.DataFrame()
    everything = exhibits.published.logs.set_index("superclass")
    found = pd.concat([logs, everything.mean().to_frame(f"mean of all {len(everything)}").T])
    columns = {title: [percent(value) for value in found[column]] for column, title in LOG_TITLES.items()}
    return pd.DataFrame({"task": found.index, **columns})


def scores_caption(exhibits: Exhibits) -> str:
    """The words over the tables of scores."""
    text = (
        "In percent after the last task: accuracy, macro precision, recall and F1 over all test images of a task that were "
        f"attacked, never per batch (images per task: {_sizes(exhibits)}), then the mean over tasks. Means over seeds, ± half "
        f"the 95 % t-interval from {ENOUGH_SEEDS} seeds on; intervals of single seeds are in tables/."
    )
    logs = _logs(exhibits)
    if not len(logs):
        return text
    tasks = logs.drop(index=MEAN, errors="ignore")
    above = int((tasks["pgd_train_pgd_eval"] > tasks["pgd_train_clean_eval"]).sum())
    text += (
        " Log: accuracies of single-task networks that the thesis' code logged, by training attack and test attack, and the "
        "goals that it gave to CMAT; we read the meaning of a column from the names of its files. They are not comparable: eps "
        f"and clamp are on normalised images. Attacked images are classified better than clean ones on {above} of these "
        f"{counted(len(tasks), 'task')}, which no attack that may leave an image alone can do."
    )
    bars = exhibits.published.pgd_steps
    mean = float(exhibits.published.logs["pgd_train_pgd_eval"].mean())
    for bar in bars[(bars["accuracy"] - mean).abs() < PRINTED_ERROR].itertuples():
        text += (
            f" The mean of '{LOG_TITLES['pgd_train_pgd_eval']}' over all {len(exhibits.published.logs)} superclasses, "
            f"{percent(mean)} %, is the bar '{bar.group}, PGD({bar.pgd_steps})' of the thesis' chart."
        )
    return text


def _sizes(exhibits: Exhibits) -> str:
    """The numbers of images per task that the attacks of the first ranked row cover: `clean 500, worst 100`."""
    row, words = exhibits.board.ranked[0], []
    for attack in scored_attacks(exhibits, row):
        sizes = covered_by_task(row, attack)[:-1]
        ends = sorted({min(sizes), max(sizes)})
        words.append(f"{short_name(attack, exhibits.board)} {' to '.join(f'{size:,}' for size in ends)}")
    return ", ".join(words)


def _over_seeds(values: Array) -> tuple[float, Interval]:
    """The mean over seeds, and its t-interval if they are enough."""
    return float(values.mean()), t_interval(values.tolist()) if len(values) >= ENOUGH_SEEDS else NO_INTERVAL


def _score_cell(values: Array) -> str:
    mean, bounds = _over_seeds(values)
    half = "" if bounds.low != bounds.low else f" ± {percent((bounds.high - bounds.low) / 2)}"
    return percent(mean) + half


def covered_by_task(row: Row, attack: str) -> list[int]:
    """The numbers of images per task that the attack covers, in the seed that has the fewest; then their sum."""
    outcomes = [seed.evidence.outcomes for seed in row.seeds]
    covered = [
        [int((o.vector(attack, o.last, task) != NOT_MEASURED).sum()) for task in range(o.tasks)] for o in outcomes
    ]
    fewest = np.min(covered, 0).tolist()
    return [*fewest, sum(fewest)]


def _logs(exhibits: Exhibits) -> pd.DataFrame:
    """The thesis' logs of the board's tasks by name, with their mean if all have one; empty on other data."""
    logs = exhibits.published.logs.set_index("superclass")
    names = [name for name in exhibits.tasks if name in logs.index and exhibits.is_of_thesis_data]
    found = logs.loc[names]
    if not names:
        return pd.DataFrame()
    if len(names) == len(exhibits.tasks):
        found.loc[MEAN] = found.mean()
    return found
