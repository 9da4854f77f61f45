"""Completeness of a run: demanded cells that are missing, its progress, and failures that explain them."""

from __future__ import annotations

from typing import Any

from reports.numbers.evidence import Evidence

Missing = tuple[str, int, int]
"""(attack, after which task, task)"""


def learns_all_at_once(evidence: Evidence) -> bool:
    """True if the method learns all tasks at once, so that only the last row can be evaluated.

    If the record does not say, True if only the last row is stored: a method that learns task after task is evaluated after
    its first task before it comes to the last.
    """
    if evidence.protocol.all_at_once is not None:
        return evidence.protocol.all_at_once
    rows = {i for cells in evidence.outcomes.correct.values() for i, _ in cells}
    return evidence.outcomes.tasks > 1 and rows == {evidence.outcomes.last}


def missing_cells(evidence: Evidence) -> list[Missing]:
    """The demanded cells that are not stored or not whole.

    A cell is whole if it covers as many test images as the protocol demands, after the last task or before.
    """
    outcomes, protocol = evidence.outcomes, evidence.protocol
    rows = [outcomes.last] if learns_all_at_once(evidence) else range(outcomes.tasks)
    demanded = {(attack, i, j) for attack in protocol.matrix for i in rows for j in range(i + 1)}
    demanded |= {(attack, outcomes.last, j) for attack in protocol.final for j in range(outcomes.tasks)}
    sizes = dict(zip(evidence.tasks["task"].tolist(), evidence.tasks["test"].tolist(), strict=True))
    missing = []
    for attack, i, j in sorted(demanded, key=lambda cell: (cell[1], cell[2], cell[0])):
        _, covered = outcomes.counts(attack).get((i, j), (0, 0))
        final = i == outcomes.last and attack in protocol.final
        size = sizes.get(j, 1)
        if covered < min(size, protocol.samples(attack, final=final) or size):
            missing.append((attack, i, j))
    return missing


def progress(evidence: Evidence) -> str:
    """The progress of a run that is not complete, in words: `3 of 5 tasks`, or the missing attacks after the last one."""
    missing, protocol, tasks = missing_cells(evidence), evidence.protocol, evidence.outcomes.tasks
    in_matrix = {i for attack, i, _ in missing if attack in protocol.matrix}
    if in_matrix and learns_all_at_once(evidence):
        return "the row after the last task is not whole"
    if in_matrix or not tasks:
        done = next((i for i in range(tasks) if i in in_matrix), tasks)
        return f"{done} of {tasks} tasks"
    lacking = len({attack for attack, _, _ in missing})
    return f"{lacking} of {len(protocol.final)} final attacks missing"


def standing_failures(evidence: Evidence) -> list[dict[str, Any]]:
    """The recorded failures, oldest first, that explain a missing cell of this preset.

    A failure of an attack that this preset does not demand, or of a cell that was stored since, says nothing about this row.
    """
    missing = set(missing_cells(evidence))
    standing = []
    for entry in evidence.run.failures:
        attack = entry.get("attack")
        cell = (attack, entry.get("after_task"), entry.get("task"))
        if cell in missing or (attack is None and missing):
            standing.append(entry)
    return standing


def describe_failure(entry: dict[str, Any]) -> str:
    """The failure in one line: its check, its task and its message."""
    where = f"{entry['check']}: " if entry.get("check") else ""
    where += f"task {entry['task']}: " if entry.get("task") is not None else ""
    return where + " ".join(str(entry.get("message") or entry.get("kind") or "no message").split())
