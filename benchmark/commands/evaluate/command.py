"""`evaluate`: somebody's nn.Module attacked under a preset's protocol, as it is shown on the screen."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmark.commands.evaluate.attacking import AttackAccuracy, ModuleEvaluation, attack_module, choose_protocol
from benchmark.commands.evaluate.loading import load_classifier
from benchmark.planning.options import RunOptions
from benchmark.planning.tasks import load_with_progress
from reports.checks.verdicts import FAIL, NOT_RUN, PASS, WARN, Verdict
from results.files import require_place, whole_file, write_json

MOST_COLUMNS = 20
"""Classes that are named on the screen."""


def evaluate(
    target: str,
    task: str | None,
    options: RunOptions,
    console: Console,
    output: Path | None = None,
    *,
    strict: bool = False,
) -> int:
    """Attack the classifier at `FILE.py[:NAME]` and print what the attacks and the checks found.

    task: number or name of the task; None for all tasks, where none is told at test.
    output: a file for the table, CSV, or JSON with everything that was found if it ends in `.json`.
    strict: True if a failed check counts as a failure.
    Returns the exit code: 0, or 1 if an attack failed. Raises ConfigError and DataError, StoreError if nothing can be written to
    `output`; a classifier that breaks its contract is a ConfigError too.
    """
    if output is not None:
        require_place(output)
    loaded = load_classifier(target)
    protocol = choose_protocol(options, task, lambda preset, machine: load_with_progress(preset, machine, console))
    found = attack_module(loaded.module, target, protocol, console.status, file=target, warnings=loaded.warnings)
    show(found, target, console)
    if output is not None:
        write(found, target, output)
    return 1 if found.failures or (strict and found.failed_checks) else 0


def show(found: ModuleEvaluation, target: str, console: Console) -> None:
    """Print accuracies, failures and verdicts."""

    def say(text: str, style: str | None = None) -> None:
        console.print(text, style=style, highlight=False, markup=False)

    preset = found.preset
    say(f"{target} on {_tasks(found)} of preset {preset.name}")
    say(f"columns: {_columns(found)}")
    console.print(_table([*found.accuracies, found.worst]))
    for note in found.notes:
        say(f"note: {note}")
    for failure in found.failures:
        say(f"failed: {failure}", "red")
    for warning in found.warnings:
        say(f"warn: {warning}", "yellow")
    if preset.transfers:
        say("left out: transfers, which need the preset's own runs")
    say(f"checks: {_counts(found.verdicts)}")
    for verdict in found.verdicts:
        if verdict.status in (WARN, FAIL):
            say(f"{verdict.status}: {verdict.check}: {verdict.reason}", "red" if verdict.status == FAIL else "yellow")


def _tasks(found: ModuleEvaluation) -> str:
    """The attacked tasks in words, such as `task 0 (trouser_shirt, 2 classes)`."""
    if found.preset.scenario_settings.protocol == "task":
        (task,) = found.tasks
        return f"task {task.id} ({task.name}, {found.classes} classes)"
    names = ", ".join(f"{task.id} ({task.name})" for task in found.tasks)
    return f"{'task' if len(found.tasks) == 1 else 'tasks'} {names} among all {found.classes} classes"


def _columns(found: ModuleEvaluation) -> str:
    """The classes that its logits stand for, in their order; of many the first."""
    more = f", ... ({found.classes} in all)" if found.classes > MOST_COLUMNS else ""
    return ", ".join(found.columns[:MOST_COLUMNS]) + more


def _counts(verdicts: Sequence[Verdict]) -> str:
    """The number of checks by status, such as `20 pass, 1 warn`."""
    count = {status: sum(verdict.status == status for verdict in verdicts) for status in (PASS, WARN, FAIL, NOT_RUN)}
    return ", ".join(f"{number} {status.replace('_', ' ')}" for status, number in count.items() if number)


def _table(accuracies: Sequence[AttackAccuracy]) -> Table:
    table = Table("attack", "samples", "accuracy %", "95 % interval")
    for column in table.columns[1:]:
        column.justify = "right"
    for each in accuracies:
        interval = f"[{100 * each.low:.1f}, {100 * each.high:.1f}]"
        table.add_row(each.attack, str(each.samples), f"{100 * each.accuracy:.1f}", interval)
    return table


def write(found: ModuleEvaluation, target: str, path: Path) -> None:
    """Write the table as CSV, or everything that was found as JSON if the path ends in `.json`."""
    if path.suffix.lower() == ".json":
        write_json(path, as_json(found, target))
    else:
        write_csv([*found.accuracies, found.worst], path)


def as_json(found: ModuleEvaluation, target: str) -> dict[str, Any]:
    """Everything that was found. Accuracies are fractions; those of no images are null."""

    def of(each: AttackAccuracy) -> dict[str, Any]:
        return {key: None if value != value else value for key, value in asdict(each).items()}

    tasks = [{"id": task.id, "name": task.name, "classes": list(task.classes)} for task in found.tasks]
    return {
        "classifier": target,
        "preset": found.preset.name,
        "protocol": found.preset.scenario_settings.protocol,
        "columns": list(found.columns),
        "tasks": tasks,
        "task": tasks[0] if len(tasks) == 1 else None,
        "accuracies": [of(each) for each in found.accuracies],
        "worst": of(found.worst),
        "notes": found.notes,
        "warnings": found.warnings,
        "failures": found.failures,
        "checks": [{"check": each.check, "status": each.status, "reason": each.reason} for each in found.verdicts],
    }


def write_csv(accuracies: Sequence[AttackAccuracy], path: Path) -> None:
    """Write a line per attack: attack, samples, accuracy, low, high. Accuracies are fractions."""
    with whole_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(AttackAccuracy.__slots__)
        writer.writerows([each.attack, each.samples, each.accuracy, each.low, each.high] for each in accuracies)
