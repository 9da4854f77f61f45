"""Each stored evaluation against itself: its id, its attack, its place, and how far it went."""

from __future__ import annotations

import json
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from attacks.threat_model import BALL_TOLERANCE
from benchmark.commands.verify.findings import Finding, Problems
from benchmark.commands.verify.records import Records
from benchmark.commands.verify.specifications import UnknownAttackError, check_columns
from benchmark.evaluating.fingerprints import evaluation_id
from reports.numbers.wording import counted

EvaluationRow = Mapping[str, Any]


def check_evaluations(records: Records) -> Finding:
    """Ids recomputed, names and columns held against the specification, changes against eps, tasks against the run's."""
    problems, unknown = Problems(), set()
    rows = [{str(name): value for name, value in row.items()} for row in records.evaluations.to_dict("records")]
    tests = dict(zip(records.tasks["task"], records.tasks["test_fingerprint"], strict=True))
    checked: dict[tuple[Any, ...], Problems] = {}
    for row in rows:
        where = f"{row['attack']} on task {row['task']} after task {row['after_task']}"
        _check_place(row, tests, where, problems)
        try:
            specification = json.loads(row["specification"])
            what = {"task": row["task_fingerprint"], "seed": int(row["seed"]), "precision": row["precision"]}
            identifier = evaluation_id(row["classifier"], {"attack": specification, **what})
        except (TypeError, ValueError):
            problems.add("a specification that cannot be read", [where])
            continue
        if identifier != row["evaluation_id"]:
            problems.add("an evaluation id that is not that of classifier, task and attack", [where])
        if not isinstance(specification, dict):
            problems.add("a specification that makes no attack", [where])
            continue
        _check_change(row, where, problems)
        # A sweep on many tasks repeats the same few attacks.
        same = tuple(
            str(row[name])
            for name in (
                "specification", "attack", "kind", "norm", "eps", "steps", "step_size", "restarts", "loss",
                "attack_version", "seed",
            )
        )  # fmt: skip
        if same in checked and not checked[same].lines():
            continue
        checked[same] = Problems()
        try:
            check_columns(row, specification, where, checked[same])
            if checked[same].lines():
                check_columns(row, specification, where, problems)
        except UnknownAttackError as error:
            unknown.add(str(error))
    _check_classifiers(records, problems)
    left_out = f"names of attacks: {'; '.join(sorted(unknown))}" if unknown else ""
    if not rows:
        return Finding("evaluations", "", (), "there are none")
    return Finding("evaluations", counted(len(rows), "evaluation"), problems.lines(), left_out)


def _check_place(row: EvaluationRow, tests: Mapping[int, str], where: str, problems: Problems) -> None:
    task, turn = int(row["task"]), int(row["after_task"])
    if not 0 <= task <= turn < len(tests):
        problems.add("a task or turn that this run does not have", [where])
    elif tests.get(task) != row["task_fingerprint"]:
        problems.add("measured on other test images than the task's", [where])


def _check_change(row: EvaluationRow, where: str, problems: Problems) -> None:
    """The largest change is at most eps, and at least what the attack itself traced."""
    try:
        eps = float(Fraction(str(row["eps"])))
        trace = json.loads(row["trace"]) if isinstance(row["trace"], str) else {}
        traced = max(trace.get("largest_change") or [0.0])
        change = float(row["largest_change"])
    except (AttributeError, TypeError, ValueError, ZeroDivisionError):
        problems.add("an eps, a trace or a largest change that cannot be read", [where])
        return
    if not change <= eps + BALL_TOLERANCE * max(1.0, eps):
        problems.add("the largest change is more than eps", [f"{where} ({change:.6f} > {eps:.6f})"])
    if traced > change + BALL_TOLERANCE:
        problems.add("the largest change is less than that of the trace", [where])


def _check_classifiers(records: Records, problems: Problems) -> None:
    """One classifier for each task and turn."""
    for (turn, task), rows in records.evaluations.groupby(["after_task", "task"]):
        if rows["classifier"].nunique() > 1:
            problems.add("more than one classifier of one task and turn", [f"task {task} after task {turn}"])
