"""What a run recorded of its learning: of tasks that are there, whole, and as large as the checkpoint is."""

from __future__ import annotations

import math
from collections.abc import Sequence

from benchmark.commands.verify.findings import Finding, Problems
from benchmark.commands.verify.records import WHOLE, Records
from benchmark.planning.stored_runs import task_checkpoints, task_key
from reports.numbers.wording import counted
from results.checkpoints import Checkpoints, stored_bytes
from results.files import StoreError

OF_THE_RUN = -1
"""The task of a fact that is of no single task."""


def check_facts(records: Records, turns: Sequence[int]) -> Finding:
    """Facts and training epochs: their tasks, their parts, and the sizes that the last checkpoint shows again.

    turns: after which tasks something was measured.
    """
    problems = Problems()
    tables = {"facts": records.facts, "training": records.training}
    for name, rows in tables.items():
        outside = rows[~rows["task"].between(OF_THE_RUN, len(records.tasks) - 1)]
        problems.add("of a task that is not there", [f"{name}/{part}.parquet" for part in outside["part"].unique()])
        files = {path.stem for path in (records.run.directory / name).glob("*.parquet")}
        if files != {WHOLE}:
            problems.add(
                "missing", [f"{name}/{task_key(turn)}.parquet" for turn in turns if task_key(turn) not in files]
            )
    _check_fingerprints(records, problems)
    left_out = _check_sizes(records, problems)
    count = f"{counted(len(records.facts), 'fact')}, {counted(len(records.training), 'epoch')}"
    return Finding("facts", count, problems.lines(), left_out)


def _check_fingerprints(records: Records, problems: Problems) -> None:
    """The classifier that was fingerprinted when its task was learned is the one that was measured then."""
    facts = records.facts[records.facts["name"] == "fingerprint_classifier"]
    rows = records.evaluations
    for task, said in zip(facts["task"], facts["text"], strict=True):
        measured = set(rows.loc[(rows["after_task"] == task) & (rows["task"] == task), "classifier"])
        if measured and measured != {said}:
            problems.add("a fingerprint of another classifier than was measured", [f"task {task}"])


def _check_sizes(records: Records, problems: Problems) -> str:
    """Parameters and megabytes of the last state; returns what could not be checked."""
    facts = records.facts[records.facts["phase"] == "cost"]
    said = dict(zip(facts["name"], facts["value"], strict=True))
    checkpoints = Checkpoints(records.run.directory / "checkpoints")
    names = task_checkpoints(checkpoints)
    if not said or not names or names[-1] != task_key(len(records.tasks) - 1):
        return "sizes: no costs, or no checkpoint after the last task"
    try:
        tensors = checkpoints.load(names[-1]).tensors
    except (StoreError, AttributeError, KeyError, TypeError):
        return "sizes: the last checkpoint cannot be read"
    floats = [tensor for tensor in tensors.values() if tensor.is_floating_point()]
    found = {"stored_mb": stored_bytes(tensors) / 1e6, "parameters": float(sum(tensor.numel() for tensor in floats))}
    for name, value in found.items():
        if name in said and not math.isclose(said[name], value, rel_tol=1e-9):
            problems.add("a size that the last checkpoint does not have", [f"{name} ({said[name]:g}, it is {value:g})"])
    return ""
