"""The stream that `check` learns, as a preset: a whole run takes about a second."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.console import Console

from benchmark.commands.run import run
from benchmark.contract.method_trial import TINY as CONTRACT
from benchmark.learning.context import RunContext
from benchmark.planning.jobs import make_jobs
from benchmark.planning.machine import Machine
from benchmark.planning.options import RunOptions
from benchmark.planning.presets import load_preset
from benchmark.planning.presets.overrides import merged
from methods.base import Method
from results.store import RunStore
from scenarios.base import SourceOptions, Task

_PRESET: dict[str, Any] = yaml.safe_load(CONTRACT.read_text(encoding="utf-8"))

TINY: dict[str, Any] = {**_PRESET, "methods": [{"method": "madry_at"}]}

SHORT: dict[str, dict[str, Any]] = {row["method"]: row["settings"] for row in _PRESET["methods"] if "settings" in row}
"""Schedules as short as the rest, for methods whose defaults are published ones; and what some must be told."""


def rows_for(names: Sequence[str]) -> list[dict[str, Any]]:
    """The tiny preset's rows, and one with a short schedule for each of `names` that needs one."""
    short = [{"method": name, "settings": SHORT[name]} for name in names if name in SHORT]
    return [*TINY["methods"], *short]


def write_preset(folder: Path, name: str = "tiny", **changes: Any) -> Path:
    """The tiny preset as a file, with top-level keys changed (dictionaries are merged)."""
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(merged(TINY, changes)))
    return path


def run_tiny(
    folder: Path, methods: Sequence[str] | None = None, *, results: str = "runs", workers: int = 1, **changes: Any
) -> int:
    """Run the tiny preset and return the exit code.

    results: name of the folder of runs inside `folder`.
    workers: 1 runs everything in this process.
    changes: top-level keys of the preset; `rows` instead of its methods; `options` of `RunOptions`.
    """
    options = changes.pop("options", {})
    rows = changes.pop("rows", None) or rows_for(methods or ())
    preset = write_preset(folder, methods=rows, **changes)
    return run(
        RunOptions(
            str(preset), methods, results=folder / results, published=folder / "published", workers=workers, **options
        ),
        Console(quiet=True),
    )


def begun(folder: Path, row: dict[str, Any], **changes: Any) -> tuple[Method, RunContext, list[Task]]:
    """A method of the tiny preset (as a row of it) that has begun and learned nothing, its context, and the tasks."""
    preset = load_preset(str(write_preset(folder, methods=[row], **changes)))
    machine = Machine(folder / "runs", folder / "published", SourceOptions(), "cpu", 1, 1, "")
    tasks = preset.scenario(SourceOptions()).load()
    job = make_jobs(preset, preset.rows, tasks, SourceOptions())[-1]
    method, store = job.new_method(), RunStore(machine.runs, job.hash)
    context = RunContext(job, torch.device("cpu"), method, store, {}, lambda event: None)
    method.begin(job.stream, context)
    return method, context, tasks


def learn(method: Method, context: RunContext, task: Task, tasks: int) -> None:
    """Learn a task as the harness does, without attacking anything."""
    context.begin_turn(task.id, tasks, task.name)
    method.learn(task.to_learn(), context)
