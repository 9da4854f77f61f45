"""Precision, recall and F1 by task over whole test sets, and the thesis' high-resolution F1 tables with ours beside them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from reports.boards.board import Row
from reports.boards.sweeps import strongest
from reports.exhibits.exhibits import NAN, Exhibits
from reports.numbers.metrics import CLEAN, WORST, Array, accuracy, task_scores
from reports.numbers.outcomes import NOT_MEASURED
from reports.numbers.published_values import HIGH_RESOLUTION, thesis_f1_table
from reports.numbers.statistics.intervals import NO_INTERVAL, Interval, t_interval
from reports.numbers.wording import counted
from reports.tables.words import NOT_AVAILABLE, percent, short_name

SCORES = ("accuracy", "precision", "recall", "F1")
ENOUGH_SEEDS = 3
PRINTED = 5e-5
"""Half a unit of the last decimal that the thesis gives."""
MEAN, PUBLISHED = "mean", "published"
LOGS = {
    "goal_file": "goal",
    "pgd_train_pgd_eval": "PGD, PGD",
    "pgd_train_fgsm_eval": "PGD, FGSM",
    "pgd_train_clean_eval": "PGD, clean",
    "fgsm_train_fgsm_eval": "FGSM, FGSM",
    "fgsm_train_pgd_eval": "FGSM, PGD",
}
"""The thesis' logs by column: training attack, then test attack."""


def scores_of(row: Row, attack: str) -> Array:
    """Accuracy, macro precision, recall and F1 after the last task: (seeds, tasks + 1, 4), the last line the mean over tasks."""
    used = [seed.evidence.outcomes for seed in row.seeds if seed.is_complete] or [
        s.evidence.outcomes for s in row.seeds
    ]
    found = []
    for outcomes in used:
        right = [accuracy(outcomes.vector(attack, outcomes.last, task)) for task in range(outcomes.tasks)]
        scores = np.column_stack([right, task_scores(outcomes, attack)])
        found.append(np.vstack([scores, scores.mean(0)]))
    return np.stack(found)


def shown_attacks(exhibits: Exhibits, row: Row) -> list[str]:
    """Clean, the matrix' attack (any-iterate where it is stored) and worst, where the row has them."""
    board, stored = exhibits.board, row.measures.matrices
    robust = board.attacks.get(board.robust_matrix or "")
    names = [CLEAN, *([strongest(robust, stored)] if robust else []), WORST]
    return [name for name in names if name in stored]


def scores_table(exhibits: Exhibits) -> pd.DataFrame:
    """Every ranked row, attack and task, then the mean over tasks: scores as fractions, means over seeds.

    With three seeds or more with t-intervals. samples: of the task, in the seed that has the fewest. log_*: what the thesis
    logged for the task of this name.
    """
    logs = _logs(exhibits)
    records = []
    for row in exhibits.board.ranked:
        for attack in shown_attacks(exhibits, row):
            scores, samples = scores_of(row, attack), _samples(row, attack)
            for task, name in enumerate([*exhibits.tasks, MEAN]):
                place = {"label": row.label, "row": row.short_identity, "seeds": len(scores), "attack": attack}
                record: dict[str, object] = {**place, "task": name, "samples": samples[task]}
                for k, score in enumerate(SCORES):
                    mean, bounds = _over_seeds(scores[:, task, k])
                    record |= {score: mean, f"{score}_low": bounds.low, f"{score}_high": bounds.high}
                records.append(record | {f"log_{column}": logs[column].get(name, NAN) for column in logs.columns})
    return pd.DataFrame(records)


def scores_table_for_reading(exhibits: Exhibits, row: Row) -> pd.DataFrame:
    """One row of the board by task, in percent: the four scores under each attack; ± half a t-interval from three seeds on.

    Attacks are named by their kind and steps; `scores_caption` gives their full names.
    """
    names = [*exhibits.tasks, MEAN]
    table = {"task": names}
    for attack in shown_attacks(exhibits, row):
        scores = scores_of(row, attack)
        for k, score in enumerate(SCORES):
            table[f"{attack.partition(' ')[0]} {score}"] = [_cell(scores[:, task, k]) for task in range(len(names))]
    logs = _logs(exhibits)
    if len(logs):
        for column in ("pgd_train_clean_eval", "pgd_train_pgd_eval"):
            table[f"log: {LOGS[column]}"] = [percent(logs[column].get(name, NAN)) for name in names]
    return pd.DataFrame(table)


def logs_table(exhibits: Exhibits) -> pd.DataFrame:
    """What the thesis logged for the board's tasks, in percent; their mean, and that of all its superclasses.

    Empty where it logged none of them.
    """
    logs = _logs(exhibits)
    if not len(logs):
        return pd.DataFrame()
    everything = exhibits.published.logs.set_index("superclass")
    found = pd.concat([logs, everything.mean().to_frame(f"mean of all {len(everything)}").T])
    columns = {title: [percent(value) for value in found[column]] for column, title in LOGS.items()}
    return pd.DataFrame({"task": found.index, **columns})


def scores_caption(exhibits: Exhibits) -> str:
    """What the scores are over, and what the columns of the thesis' logs are."""
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
        "goals it gave to CMAT; what a column is of is our reading of file names. They are not comparable: eps and clamp on "
        f"normalised images. Attacked images are classified better than clean ones on {above} of these "
        f"{counted(len(tasks), 'task')}, which no attack that may leave an image alone can do."
    )
    bars = exhibits.published.pgd_steps
    mean = float(exhibits.published.logs["pgd_train_pgd_eval"].mean())
    for bar in bars[(bars["accuracy"] - mean).abs() < PRINTED].itertuples():
        text += (
            f" The mean of '{LOGS['pgd_train_pgd_eval']}' over all {len(exhibits.published.logs)} superclasses, "
            f"{percent(mean)} %, is the bar '{bar.group}, PGD({bar.pgd_steps})' of the thesis' chart."
        )
    return text


def _sizes(exhibits: Exhibits) -> str:
    """How many images of each task the attacks of the first ranked row cover: `clean 500, worst 100`."""
    row, words = exhibits.board.ranked[0], []
    for attack in shown_attacks(exhibits, row):
        sizes = _samples(row, attack)[:-1]
        ends = sorted({min(sizes), max(sizes)})
        words.append(f"{short_name(attack, exhibits.board)} {' to '.join(f'{size:,}' for size in ends)}")
    return ", ".join(words)


def _over_seeds(values: Array) -> tuple[float, Interval]:
    """Mean over seeds, and its t-interval where there are enough of them."""
    return float(values.mean()), t_interval(values.tolist()) if len(values) >= ENOUGH_SEEDS else NO_INTERVAL


def _cell(values: Array) -> str:
    mean, bounds = _over_seeds(values)
    half = "" if bounds.low != bounds.low else f" ± {percent((bounds.high - bounds.low) / 2)}"
    return percent(mean) + half


def _samples(row: Row, attack: str) -> list[int]:
    """Images per task that the attack covers, in the seed that has the fewest; then all together."""
    outcomes = [seed.evidence.outcomes for seed in row.seeds]
    covered = [
        [int((o.vector(attack, o.last, task) != NOT_MEASURED).sum()) for task in range(o.tasks)] for o in outcomes
    ]
    fewest = np.min(covered, 0).tolist()
    return [*fewest, sum(fewest)]


def _logs(exhibits: Exhibits) -> pd.DataFrame:
    """The thesis' logs of the board's tasks by name, and their mean where all have one; empty on other data."""
    logs = exhibits.published.logs.set_index("superclass")
    names = [name for name in exhibits.tasks if name in logs.index and exhibits.is_of_thesis_data]
    found = logs.loc[names]
    if not names:
        return pd.DataFrame()
    if len(names) == len(exhibits.tasks):
        found.loc[MEAN] = found.mean()
    return found


# -- high-resolution data ---------------------------------------------------------------------------------------------


def fine_grained_table(exhibits: Sequence[Exhibits]) -> pd.DataFrame:
    """Two lines per line of the thesis' high-resolution tables, published and ours, as fractions; NaN where there is none.

    exhibits: at least one. F1 of P and R: 2PR/(P+R) of the line's own precision and recall.
    """
    published = exhibits[0].published.fine_grained
    checked = thesis_f1_table(published)["F1_of_its_precision_and_recall"]
    columns = [*HIGH_RESOLUTION, "precision", "recall", "f1"]
    records = []
    for line, f1 in zip(published.to_dict("records"), checked, strict=True):
        place = {name: line[name] for name in ("method", "train_attack", "eval_attack")}
        records.append({**place, "values": PUBLISHED, **{name: line[name] for name in columns}, "f1_of_p_and_r": f1})
        found = next(filter(None, (_measured(each, **place) for each in exhibits)), {})
        ours = {name: found.get(name, NAN) for name in [*columns, "f1_of_p_and_r"]}
        records.append({**place, "values": found.get("label", "ours"), **ours})
    return pd.DataFrame(records)


def _measured(exhibits: Exhibits, method: str, train_attack: str, eval_attack: str) -> dict[str, object]:
    """Our numbers for a line of the high-resolution tables: the row trained and attacked with as many steps of PGD.

    Empty where the board's tasks are not these data sets, or no ranked row was trained and attacked so.
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
    """`PGD-10` → 10"""
    found = re.fullmatch(r"PGD-(\d+)", attack)
    return int(found[1]) if found else 0


def fine_grained_for_reading(table: pd.DataFrame, method: str) -> pd.DataFrame:
    """One of the two high-resolution tables as the thesis lays it out, fractions of four decimals."""
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
    """Which printed F1 are what their precision and recall say, and what the others should be."""
    printed = table[table["values"] == PUBLISHED]
    wrong = printed[(printed["f1"] - printed["f1_of_p_and_r"]).abs() > PRINTED]
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
