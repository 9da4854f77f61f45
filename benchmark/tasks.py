"""Finding a task by what people call it."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.errors import ConfigError
from scenarios.base import Task


def find_task(tasks: Sequence[Task], name: str) -> Task:
    """A task by its number or name, as `--task` gives it. Raises ConfigError."""
    for task in tasks:
        if name in (str(task.id), task.name):
            return task
    valid = ", ".join(f"{task.id} ({task.name})" for task in tasks)
    raise ConfigError(f"--task {name}: no such task; valid: {valid}")
