"""The stored facts and training epochs of a run: of tasks that are there, complete, and true of the last checkpoint."""

from __future__ import annotations

import math
from collections.abc import Sequence

from benchmark.commands.verify.findings import Finding, Problems
from benchmark.commands.verify.records.files import WHOLE, Records
from benchmark.planning.stored_runs import task_checkpoints, task_key
from reports.numbers.wording import counted
from results import schema
from results.checkpoints import Checkpoints, stored_bytes
from results.files import StoreError

OF_THE_RUN = -1
"""The task of a fact that is of the whole run."""


def verify_facts(records: Records, turns: Sequence[int]) -> Finding:
    """Look at the tasks and the parts of facts and epochs; compute sizes again from the last checkpoint.

    turns: after which tasks the run was evaluated.
    """
    problems = Problems()
    for name, rows in {"facts": records.facts, "training": records.training}.items():
        outside = rows[~rows["task"].between(OF_THE_RUN, len(records.tasks) - 1)]
        problems.add("of a task that is not there", [f"{name}/{part}.parquet" for part in outside["part"].unique()])
        parts = {path.stem for path in (records.run.directory / name).glob("*.parquet")}
        if parts != {WHOLE}:
            missing = [task_key(turn) for turn in turns if task_key(turn) not in parts]
            problems.add("missing", [f"{name}/{part}.parquet" for part in missing])
    _verify_fingerprints(records, problems)
    left_out = _verify_sizes(records, problems)
    count = f"{counted(len(records.facts), 'fact')}, {counted(len(records.training), 'epoch')}"
    return Finding("facts", count, problems.lines(), left_out)


def _verify_fingerprints(records: Records, problems: Problems) -> None:
    """A classifier that was fingerprinted when its task was learned is the one that was evaluated then."""
    facts = records.facts[records.facts["name"] == "fingerprint_classifier"]
    rows = records.evaluations
    for task, fingerprint in zip(facts["task"], facts["text"], strict=True):
        evaluated = set(rows.loc[(rows["after_task"] == task) & (rows["task"] == task), "classifier"])
        if evaluated and evaluated != {fingerprint}:
            problems.add("a fingerprint of another classifier than was evaluated", [f"task {task}"])


def _verify_sizes(records: Records, problems: Problems) -> str:
    """Count the parameters and megabytes of the last state again; return what could not be verified."""
    facts = records.facts[records.facts["phase"] == schema.COSTS]
    recorded = dict(zip(facts["name"], facts["value"], strict=True))
    checkpoints = Checkpoints(records.run.directory / "checkpoints")
    names = task_checkpoints(checkpoints)
    if not recorded or not names or names[-1] != task_key(len(records.tasks) - 1):
        return "sizes: no costs, or no checkpoint after the last task"
    try:
        tensors = checkpoints.load(names[-1]).tensors
    except (StoreError, AttributeError, KeyError, TypeError):
        return "sizes: the last checkpoint cannot be read"
    parameters = sum(tensor.numel() for tensor in tensors.values() if tensor.is_floating_point())
    for name, value in {"stored_mb": stored_bytes(tensors) / 1e6, "parameters": float(parameters)}.items():
        if name in recorded and not math.isclose(recorded[name], value, rel_tol=1e-9):
            where = f"{name} ({recorded[name]:g}, it is {value:g})"
            problems.add("a size that the last checkpoint does not have", [where])
    return ""
