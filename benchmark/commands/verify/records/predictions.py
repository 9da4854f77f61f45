"""The stored predictions of a run: each agrees with its evaluation, the other predictions of its sample, and the data set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from benchmark.commands.verify.findings import Finding, Problems
from benchmark.commands.verify.records.files import EVALUATED, Records
from reports.numbers.wording import counted
from results.schema import ANY, SAFE_MARGIN
from scenarios.base import Task


def verify_predictions(records: Records, tasks: Sequence[Task] | None) -> Finding:
    """Look at samples, labels, the signs of margins, and any-iterate outcomes beside final ones.

    tasks: the data set; None if it is not here, and then labels are left out.
    """
    rows = records.predictions
    if rows.empty:
        # A run that only other rows need is not attacked.
        return Finding("predictions", "", (), "there are none")
    if records.evaluations.empty:
        return Finding("predictions", "", (), "their evaluations are not there")
    problems = Problems()
    names = records.evaluations.set_index("evaluation_id")["attack"]
    attack = rows["evaluation_id"].map(names[~names.index.duplicated()])
    is_any = rows["attack"] == attack + ANY
    misnamed = attack.notna() & ~is_any & (rows["attack"] != attack)
    _add(rows, misnamed, "an attack's name that its evaluation lacks", problems)
    repeated = rows.duplicated(["part", *EVALUATED, "attack", "sample"], keep="first")
    _add(rows, repeated, "a sample that stands twice", problems)
    _verify_margins(rows, problems)
    _verify_counts(records, rows[~is_any & ~repeated], problems)
    _verify_any(rows[~is_any & ~repeated], rows[is_any & ~repeated], problems)
    _verify_repeats(rows, problems)
    _verify_ranges(records, rows, records.run.stream_protocol == "class", problems)
    if tasks is not None:
        _verify_labels(rows, tasks, problems)
    left_out = "labels: the data is not here" if tasks is None else ""
    return Finding("predictions", counted(len(rows), "prediction"), problems.lines(), left_out)


def _add(rows: pd.DataFrame, wrong: pd.Series, what: str, problems: Problems) -> None:
    """Add a problem of the rows that are wrong. wrong: bool, one for each row."""
    found = rows[wrong.to_numpy(bool)]
    columns = (found[name] for name in ("sample", "task", "after_task", "attack"))
    problems.add(what, [f"sample {s} of task {j} after task {i} ({a})" for s, j, i, a in zip(*columns, strict=True)])


def _verify_margins(rows: pd.DataFrame, problems: Problems) -> None:
    """Every margin is finite, positive for a right prediction and negative for a wrong one."""
    _add(rows, ~np.isfinite(rows["margin"]), "a margin that is not finite", problems)
    right = rows["predicted"] == rows["label"]
    contrary = ((rows["margin"] > 0) & ~right) | ((rows["margin"] < 0) & right)
    _add(rows, contrary, "a margin of the other sign than the prediction says", problems)


def _verify_counts(records: Records, final: pd.DataFrame, problems: Problems) -> None:
    """Every evaluation has as many samples as it says. In a published table, all parts of an evaluation are counted together."""
    place = ["part", *EVALUATED]
    recorded = records.evaluations.groupby(place)["samples"].sum()
    there = final.groupby(place)["sample"].nunique()
    both = pd.DataFrame({"recorded": recorded, "there": there}).dropna().reset_index()
    for row in both[both["recorded"] != both["there"]].itertuples(index=False):
        where = f"{str(row.evaluation_id)[:8]} on task {row.task} after task {row.after_task}"
        problems.add("another number of samples than recorded", [f"{where} ({row.there:.0f}, not {row.recorded:.0f})"])


def _verify_any(final: pd.DataFrame, any_: pd.DataFrame, problems: Problems) -> None:
    """The worst of all iterates is never better than the last one, and is stored for every sample or for none."""
    if any_.empty:
        return
    key = ["part", *EVALUATED, "sample"]
    both = final[final["evaluation_id"].isin(any_["evaluation_id"])].merge(
        any_[[*key, "predicted", "margin"]], on=key, how="outer", suffixes=("", "_any"), indicator=True
    )
    _add(both, both["_merge"] != "both", "final and any-iterate outcomes of other samples", problems)
    both = both[both["_merge"] == "both"]
    better = (both["predicted_any"] == both["label"]) & (both["predicted"] != both["label"])
    _add(both, better, "right at any iterate and wrong at the final one", problems)
    larger = both["margin_any"] > both["margin"]
    _add(both, larger & ~better, "a larger margin at any iterate than at the final one", problems)


def _verify_repeats(rows: pd.DataFrame, problems: Problems) -> None:
    """An evaluation that is stored for several turns, because the classifier did not change, says the same in all of them."""
    sure = rows[rows["margin"].abs() > SAFE_MARGIN]
    answers = sure.groupby(["evaluation_id", "attack", "sample"])["predicted"]
    differing = sure[(answers.transform("min") != answers.transform("max")).to_numpy(bool)]
    first = ~differing.duplicated(["evaluation_id", "attack", "sample"])
    _add(differing, first, "one evaluation says different things of a sample", problems)


def _verify_ranges(records: Records, rows: pd.DataFrame, one_head: bool, problems: Problems) -> None:
    """Samples are in the task's test set; labels are classes of the task, predictions of those it was answered among."""
    tasks = records.tasks.set_index("task")
    tasks = tasks[~tasks.index.duplicated()]
    sizes, counts = rows["task"].map(tasks["test"]), tasks["classes"].map(len).sort_index()
    own = rows["task"].map(counts)
    first, classes = own - own, own
    if one_head:
        first, classes = rows["task"].map(counts.cumsum() - counts), rows["after_task"].map(counts.cumsum())
    outside = ~rows["sample"].ge(0) | ~(rows["sample"] < sizes)
    _add(rows, outside, "a sample that is not in the task's test set", problems)
    for column, least, limit, what in (
        ("predicted", 0, classes, "a prediction that is no class"),
        ("label", first, first + own, "a label that is no class"),
    ):
        outside = ~rows[column].ge(least) | ~(rows[column] < limit)
        _add(rows, outside, what, problems)


def _verify_labels(rows: pd.DataFrame, tasks: Sequence[Task], problems: Problems) -> None:
    """Labels are those of the data set."""
    wrong = pd.Series(False, index=rows.index)
    for task in tasks:
        labels = np.full(int(task.test.samples.max()) + 1, -1)
        labels[task.test.samples.cpu().numpy()] = task.test.labels.cpu().numpy()
        mine = (rows["task"] == task.id) & rows["sample"].between(0, len(labels) - 1)
        wrong[mine] = labels[rows.loc[mine, "sample"]] != rows.loc[mine, "label"]
    _add(rows, wrong, "a label that is not that of the data set", problems)
