"""The stored evaluations of a run: id, attack, cell and largest change of each must agree with one another."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from attacks.threat_model import BALL_TOLERANCE, largest_allowed, parse_fraction
from benchmark.commands.verify.findings import Finding, Problems
from benchmark.commands.verify.records.files import Records, place_of
from benchmark.commands.verify.records.specifications import OF_THE_ATTACK, UnknownAttackError, verify_columns
from benchmark.evaluating.fingerprints import evaluation_id
from reports.numbers.wording import counted

EvaluationRow = Mapping[str, Any]


def verify_evaluations(records: Records) -> Finding:
    """Compute ids again; compare attacks with their specification, changes with eps, and tasks with those of the run."""
    rows = [{str(name): value for name, value in row.items()} for row in records.evaluations.to_dict("records")]
    if not rows:
        return Finding("evaluations", "", (), "there are none")
    problems, unknown = Problems(), set()
    tests = dict(zip(records.tasks["task"], records.tasks["test_fingerprint"], strict=True))
    holding: set[tuple[str, ...]] = set()
    for row in rows:
        _verify_cell(row, tests, problems)
        specification = _specification(row, problems)
        if specification is None:
            continue
        _verify_change(row, problems)
        attack = tuple(str(row[name]) for name in OF_THE_ATTACK)
        if attack in holding:
            # A sweep on many tasks repeats the same few attacks.
            continue
        found = Problems()
        try:
            verify_columns(row, specification, place_of(row), found)
        except UnknownAttackError as error:
            unknown.add(str(error))
        problems.update(found)
        if not found:
            holding.add(attack)
    _verify_classifiers(records, problems)
    left_out = f"names of attacks: {'; '.join(sorted(unknown))}" if unknown else ""
    return Finding("evaluations", counted(len(rows), "evaluation"), problems.lines(), left_out)


def _verify_cell(row: EvaluationRow, tests: Mapping[int, str], problems: Problems) -> None:
    """The task and the turn are of this run, and the test images are those of the task."""
    task, turn = int(row["task"]), int(row["after_task"])
    if not 0 <= task <= turn < len(tests):
        problems.add("a task or turn that this run does not have", [place_of(row)])
    elif tests.get(task) != row["task_fingerprint"]:
        problems.add("evaluated on other test images than the task's", [place_of(row)])


def _specification(row: EvaluationRow, problems: Problems) -> dict[str, Any] | None:
    """The specification of the attack, of which the evaluation's id must be made. None if it is unreadable or no object."""
    try:
        specification = json.loads(row["specification"])
        what = {"task": row["task_fingerprint"], "seed": int(row["seed"]), "precision": row["precision"]}
        identifier = evaluation_id(row["classifier"], {"attack": specification, **what})
    except (TypeError, ValueError, RecursionError):
        problems.add("a specification that cannot be read", [place_of(row)])
        return None
    if identifier != row["evaluation_id"]:
        problems.add("an evaluation id that is not that of classifier, task and attack", [place_of(row)])
    if not isinstance(specification, dict):
        problems.add("a specification that makes no attack", [place_of(row)])
        return None
    return specification


def _verify_change(row: EvaluationRow, problems: Problems) -> None:
    """The largest change is at most eps, and at least what the attack itself traced."""
    try:
        eps = float(parse_fraction(str(row["eps"])))
        trace = json.loads(row["trace"]) if isinstance(row["trace"], str) else {}
        traced = max(trace.get("largest_change") or [0.0])
        change = float(row["largest_change"])
    except (AttributeError, TypeError, ValueError, ZeroDivisionError, RecursionError):
        problems.add("an eps, a trace or a largest change that cannot be read", [place_of(row)])
        return
    if not change <= largest_allowed(eps):
        problems.add("the largest change is more than eps", [f"{place_of(row)} ({change:.6f} > {eps:.6f})"])
    if traced > change + BALL_TOLERANCE:
        problems.add("the largest change is less than that of the trace", [place_of(row)])


def _verify_classifiers(records: Records, problems: Problems) -> None:
    """One classifier was attacked for each task and turn."""
    for (turn, task), rows in records.evaluations.groupby(["after_task", "task"]):
        if rows["classifier"].nunique() > 1:
            problems.add("more than one classifier of one task and turn", [f"task {task} after task {turn}"])
