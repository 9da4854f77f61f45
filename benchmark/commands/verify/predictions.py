"""Each stored prediction against its evaluation, the others of its sample, and the labels of the data set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from benchmark.commands.verify.findings import Finding, Problems
from benchmark.commands.verify.records import CELL, Records
from reports.numbers.wording import counted
from results.schema import ANY, SAFE_MARGIN
from scenarios.base import Task


def check_predictions(records: Records, tasks: Sequence[Task] | None) -> Finding:
    """Samples, labels, signs of margins, any-iterate against final. tasks: the data set; without it labels are not checked."""
    problems = Problems()
    rows = records.predictions
    if rows.empty:
        # A run that only others need is not attacked.
        return Finding("predictions", "", (), "there are none")
    names = records.evaluations.set_index("evaluation_id")["attack"]
    named = rows["evaluation_id"].map(names[~names.index.duplicated()])
    is_any = rows["attack"] == named + ANY
    _tell(
        rows,
        named.notna() & ~is_any & (rows["attack"] != named),
        "an attack's name that its evaluation lacks",
        problems,
    )
    repeated = rows.duplicated(["part", *CELL, "attack", "sample"], keep="first")
    _tell(rows, repeated, "a sample that stands twice", problems)
    _tell(rows, ~np.isfinite(rows["margin"]), "a margin that is not finite", problems)
    right = rows["predicted"] == rows["label"]
    contrary = ((rows["margin"] > 0) & ~right) | ((rows["margin"] < 0) & right)
    _tell(rows, contrary, "a margin of the other sign than the prediction says", problems)
    _check_counts(records, rows[~is_any & ~repeated], problems)
    _check_any(rows[~is_any & ~repeated], rows[is_any & ~repeated], problems)
    _check_twins(rows, problems)
    _check_ranges(records, rows, problems)
    if tasks is None:
        return Finding(
            "predictions", counted(len(rows), "prediction"), problems.lines(), "labels: the data is not here"
        )
    _check_labels(rows, tasks, problems)
    return Finding("predictions", counted(len(rows), "prediction"), problems.lines())


def _tell(rows: pd.DataFrame, wrong: pd.Series, what: str, problems: Problems) -> None:
    found = rows[wrong.to_numpy(bool)]
    columns = (found[name] for name in ("sample", "task", "after_task", "attack"))
    problems.add(what, [f"sample {s} of task {j} after task {i} ({a})" for s, j, i, a in zip(*columns, strict=True)])


def _check_counts(records: Records, final: pd.DataFrame, problems: Problems) -> None:
    """Every evaluation has as many samples as it says; of published tables all parts of one together."""
    place = ["part", *CELL]
    said = records.evaluations.groupby(place)["samples"].sum()
    there = final.groupby(place)["sample"].nunique()
    both = pd.DataFrame({"said": said, "there": there}).dropna().reset_index()
    for row in both[both["said"] != both["there"]].itertuples(index=False):
        where = f"{str(row.evaluation_id)[:8]} on task {row.task} after task {row.after_task}"
        problems.add("another number of samples than recorded", [f"{where} ({row.there:.0f}, not {row.said:.0f})"])


def _check_any(final: pd.DataFrame, any_: pd.DataFrame, problems: Problems) -> None:
    """The worst of all iterates is never better than the last of them, and is there for every sample or for none."""
    if any_.empty:
        return
    key = ["part", *CELL, "sample"]
    both = final[final["evaluation_id"].isin(any_["evaluation_id"])].merge(
        any_[[*key, "predicted", "margin"]], on=key, how="outer", suffixes=("", "_any"), indicator=True
    )
    _tell(both, both["_merge"] != "both", "final and any-iterate outcomes of other samples", problems)
    both = both[both["_merge"] == "both"]
    better = (both["predicted_any"] == both["label"]) & (both["predicted"] != both["label"])
    _tell(both, better, "right at any iterate and wrong at the final one", problems)
    larger = both["margin_any"] > both["margin"]
    _tell(both, larger & ~better, "a larger margin at any iterate than at the final one", problems)


def _check_twins(rows: pd.DataFrame, problems: Problems) -> None:
    """An evaluation of a classifier that did not change says the same wherever it stands."""
    sure = rows[rows["margin"].abs() > SAFE_MARGIN]
    answers = sure.groupby(["evaluation_id", "attack", "sample"])["predicted"]
    differing = sure[(answers.transform("min") != answers.transform("max")).to_numpy(bool)]
    _tell(
        differing,
        ~differing.duplicated(["evaluation_id", "attack", "sample"]),
        "one evaluation says different things of a sample",
        problems,
    )


def _check_ranges(records: Records, rows: pd.DataFrame, problems: Problems) -> None:
    tasks = records.tasks.set_index("task")
    tasks = tasks[~tasks.index.duplicated()]
    sizes, classes = rows["task"].map(tasks["test"]), rows["task"].map(tasks["classes"].map(len))
    strange = ~rows["sample"].ge(0) | ~(rows["sample"] < sizes)
    _tell(rows, strange, "a sample that is not in the task's test set", problems)
    for column in ("predicted", "label"):
        outside = ~rows[column].ge(0) | ~(rows[column] < classes)
        _tell(rows, outside, f"{'a label' if column == 'label' else 'a prediction'} that is no class", problems)


def _check_labels(rows: pd.DataFrame, tasks: Sequence[Task], problems: Problems) -> None:
    wrong = pd.Series(False, index=rows.index)
    for task in tasks:
        labels = np.full(int(task.test.samples.max()) + 1, -1)
        labels[task.test.samples.cpu().numpy()] = task.test.labels.cpu().numpy()
        mine = (rows["task"] == task.id) & rows["sample"].between(0, len(labels) - 1)
        wrong[mine] = labels[rows.loc[mine, "sample"]] != rows.loc[mine, "label"]
    _tell(rows, wrong, "a label that is not that of the data set", problems)
