"""Tables of the switches that change no robust accuracy: F1 of the last batch, a comparator of another protocol, one seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
import pandas as pd

from reports.audit.audited_row import AuditedRow
from reports.numbers.metrics import macro_scores
from reports.numbers.published_values import BLACK_BOX_100_WAY
from reports.numbers.statistics.contrasts import SeedOutcomes, contrast, mean_accuracy, seed_accuracy
from reports.numbers.statistics.intervals import t_interval
from reports.numbers.wording import counted

SMALL_TABLES = ("f1", "comparator", "seeds")
"""Their names on the command line."""
BATCH = 32
"""The thesis' batch size."""
_F1 = ("macro_F1", "weighted_F1")


@dataclass(frozen=True)
class Predicted:
    """The predictions on one task under attack; labels, predicted: int (n,), in the order of the classes."""

    task: str
    labels: np.ndarray
    predicted: np.ndarray


def last_batch(task: Predicted) -> Predicted:
    """The last, smaller batch of a test set that is sorted by class."""
    left = len(task.labels) % BATCH or BATCH
    return Predicted(task.task, task.labels[-left:], task.predicted[-left:])


def weighted_scores(task: Predicted) -> tuple[float, float, float]:
    """Precision, recall and F1 as means over the classes, each weighted by its share of the labels.

    They equal scikit-learn's `precision_recall_fscore_support(average="weighted", zero_division=0)`.
    """
    scores = np.zeros(3)
    for label in np.unique(task.labels):
        is_label, is_predicted = task.labels == label, task.predicted == label
        hits = float((is_label & is_predicted).sum())
        precision, recall = hits / max(1, is_predicted.sum()), hits / is_label.sum()
        f1 = 2 * hits / (is_label.sum() + is_predicted.sum())
        scores += is_label.mean() * np.array([precision, recall, f1])
    return float(scores[0]), float(scores[1]), float(scores[2])


def f1_table(tasks: Sequence[Predicted]) -> pd.DataFrame:
    """Accuracy, macro and weighted precision, recall and F1 per task, on all samples and on the last batch; then the means."""
    records = [
        {"task": of.task, "part": part, **batch_scores(of)}
        for whole in tasks
        for part, of in (("all samples", whole), ("last batch", last_batch(whole)))
    ]
    frame = pd.DataFrame(records)
    means = frame.groupby("part", sort=False).mean(numeric_only=True).reset_index()
    return pd.concat([frame, means.assign(task="mean")], ignore_index=True)


def batch_scores(of: Predicted) -> dict[str, float]:
    """The numbers of samples and of classes among their labels, accuracy, and macro and weighted scores, by column."""
    names = ("precision", "recall", "F1")
    return {
        "samples": len(of.labels), "classes": len(np.unique(of.labels)),
        "accuracy": float((of.labels == of.predicted).mean()),
        **{f"macro_{name}": value for name, value in zip(names, macro_scores(of.labels, of.predicted), strict=True)},
        **{f"weighted_{name}": value for name, value in zip(names, weighted_scores(of), strict=True)},
    }  # fmt: skip


def batches_table(tasks: Sequence[Predicted], printed: float) -> pd.DataFrame:
    """F1 of every batch of the thesis' size of a test set that is sorted by class, per task: how much the batch decides.

    printed: the lowest F1 that the thesis prints.
    of_one_class: the share of the batches that hold one class.
    macro_F1_*, weighted_F1_*: lowest, median and highest, and the share of the batches at `printed` or above.
    """
    records = []
    for whole in tasks:
        starts = range(0, len(whole.labels), BATCH)
        cuts = [slice(start, start + BATCH) for start in starts]
        found = [batch_scores(Predicted(whole.task, whole.labels[cut], whole.predicted[cut])) for cut in cuts]
        record: dict[str, object] = {"task": whole.task, "batches": len(found), "printed": printed}
        record["of_one_class"] = float(np.mean([each["classes"] == 1 for each in found]))
        for name in _F1:
            values = np.array([each[name] for each in found])
            record |= {
                f"{name}_lowest": values.min(),
                f"{name}_median": np.median(values),
                f"{name}_highest": values.max(),
            }
            record[f"{name}_as_printed"] = float((values >= printed).mean())
        records.append(record)
    return pd.DataFrame(records)


def f1_in_words(protocol: str, tasks: Sequence[Predicted], printed: float) -> list[str]:
    """A sentence per task: the F1 of the last batch beside accuracy and F1 over the whole test set.

    protocol: its name. printed: as for `batches_table`.
    """
    by_part = f1_table(tasks).set_index(["task", "part"])
    found = []
    for batches in batches_table(tasks, printed).to_dict("records"):
        whole, last = (by_part.loc[(batches["task"], part)] for part in ("all samples", "last batch"))
        of = f"{counted(int(last['samples']), 'image')} of {int(last['classes'])} class{'' if last['classes'] == 1 else 'es'}"
        found.append(
            f"{protocol}, {batches['task']}: accuracy {whole['accuracy']:.2f} and macro F1 {whole['macro_F1']:.2f} over "
            f"{counted(int(whole['samples']), 'image')} of {int(whole['classes'])} classes; last batch ({of}): macro F1 "
            f"{last['macro_F1']:.2f}, weighted {last['weighted_F1']:.2f}; at least {printed:.2f}, the lowest F1 in print, on "
            f"{100 * batches['weighted_F1_as_printed']:.0f} % of all batches"
        )
    return found


def above_chance(value: float, chance: float) -> float:
    """The accuracy on a scale of 0 at chance to 1 if all is right: Cohen's kappa for balanced classes."""
    return (value - chance) / (1 - chance)


def comparator_table(
    canonical: AuditedRow,
    black_box: SeedOutcomes | None,
    chance: float,
    classes: Sequence[int],
    thesis: pd.DataFrame,
    quoted: pd.DataFrame,
) -> pd.DataFrame:
    """The numbers that share one column of the thesis' comparison, each with its attack, its classes and its chance.

    black_box: outcomes of `canonical`'s network on images made on an undefended network; None if there are none.
    chance, classes: accuracy of guessing, mean over tasks, and the number of classes of each.
    thesis, quoted: the published tables.
    """

    def line(source: str, row: str, value: float, box: str, ways: str, of: float) -> dict[str, object]:
        return {
            "source": source, "row": row, "accuracy": value, "attack": box, "classes": ways, "chance": of,
            "above_chance": above_chance(value, of),
        }  # fmt: skip

    ways = f"{' to '.join(map(str, sorted({min(classes), max(classes)})))}, task given"
    here = line("measured here", canonical.method, mean_accuracy(canonical.reported), "white-box", ways, chance)
    records = [{**here, "difference": nan, "low": nan, "high": nan}]
    if black_box is not None:
        difference, bounds = contrast([(1.0, black_box), (-1.0, canonical.reported)])
        other = line("measured here", canonical.method, mean_accuracy(black_box), "black-box", ways, chance)
        records.append({**other, "difference": difference, "low": bounds.low, "high": bounds.high})
    for row in thesis.to_dict("records"):
        foreign = row["method"] in BLACK_BOX_100_WAY
        box, ways, of = ("black-box", "100", 0.01) if foreign else ("white-box", "5, task given", 0.2)
        records.append(line("the thesis' table", str(row["label"]), float(row["accuracy"]), box, ways, of))
    for row in quoted.to_dict("records"):
        for box in ("white_box", "black_box"):
            value = float(row[box]) / 100
            records.append(line("ANP-VS' table", str(row["model"]), value, box.replace("_", "-"), "100", 0.01))
    return pd.DataFrame(records)


def seeds_table(rows: Sequence[AuditedRow]) -> pd.DataFrame:
    """The spread over seeds per row, its t-interval, and the gain of reporting the best seed alone; NaN below two seeds."""
    records = []
    for row in rows:
        values = [seed_accuracy(row.reported[seed]) for seed in sorted(row.reported)]
        several = len(values) > 1
        bounds = t_interval(values)
        records.append(
            {
                "method": row.method, "switch": row.switch, "seeds": len(values), "mean": float(np.mean(values)),
                "lowest": min(values), "highest": max(values),
                "standard_deviation": float(np.std(values, ddof=1)) if several else nan,
                "low": bounds.low, "high": bounds.high,
                "best_minus_mean": max(values) - float(np.mean(values)) if several else nan,
            }
        )  # fmt: skip
    return pd.DataFrame(records)


def geometry_table(records: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    """The changes that the thesis' space and box make to each task's images, and their mean over tasks."""
    frame = pd.DataFrame(records)
    return pd.concat([frame, frame.mean(numeric_only=True).to_frame().T.assign(task="mean")], ignore_index=True)
