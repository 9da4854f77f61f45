"""Loading the tasks of a preset, telling what is odd about their images, and finding one by its number or name."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console

from benchmark.errors import ConfigError
from benchmark.planning.demands import warnings_of_attacks
from benchmark.planning.machine import Machine
from benchmark.planning.presets import Preset
from reports.numbers.labels import visible
from results.files import canonical_json
from results.schema import DATA
from scenarios.base import SourceOptions, Stream, Task


class DataWarning(UserWarning):
    """Something is odd about the images of a task; what is measured on them may mean less than it seems."""


class AttackWarning(UserWarning):
    """An attack has settings that are allowed and hardly meant; it may be weaker than its name."""


def find_task(tasks: Sequence[Task], name: str) -> Task:
    """The task with this number or name, as `--task` gives it. Raises ConfigError."""
    for task in tasks:
        if name in (str(task.id), task.name):
            return task
    valid = ", ".join(f"{task.id} ({task.name})" for task in tasks)
    raise ConfigError(f"--task {name}: no such task; valid: {valid}")


def load_with_progress(preset: Preset, machine: Machine, console: Console) -> list[Task]:
    """Load the preset's tasks; a progress bar shows images being decoded, and warnings of data and attacks are printed.

    Raises DataError, ConfigError.
    """
    from rich.markup import escape
    from rich.progress import Progress, TaskID

    scenario = preset.scenario(machine.source)
    # The progress bar goes before the lines that follow it.
    with (
        _told(console),
        Progress(console=console, transient=True, disable=not console.is_terminal) as progress,
    ):
        bars: dict[str, TaskID] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in bars:
                bars[what] = progress.add_task(escape(visible(what)), total=total)
            progress.update(bars[what], completed=done, total=total)

        tasks = scenario.load(machine.device, report)
        _warn(preset, tasks, scenario.stream())
        return tasks


@contextmanager
def _told(console: Console) -> Iterator[None]:
    """Print the warnings of Python that are given inside the block, each once, as one line at its end."""
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        try:
            yield
        finally:
            for line in dict.fromkeys(" ".join(str(warning.message).split()) for warning in given):
                console.print(f"warn: {line}", style="yellow", highlight=False, markup=False)


def load_and_warn(preset: Preset, machine: Machine) -> list[Task]:
    """Load the preset's tasks; warnings are Python's: of the data `DataWarning`, of attacks `AttackWarning`.

    Raises DataError, ConfigError.
    """
    scenario = preset.scenario(machine.source)
    tasks = scenario.load(machine.device)
    _warn(preset, tasks, scenario.stream())
    return tasks


def _warn(preset: Preset, tasks: Sequence[Task], stream: Stream) -> None:
    """Give the warnings of the tasks' data and of the attacks as Python's, at the line that asked for the tasks."""
    for task in tasks:
        for line in task.warnings:
            warnings.warn(line, DataWarning, stacklevel=3)
    for line in warnings_of_attacks([*preset.final, *preset.transfers], stream):
        warnings.warn(line, AttackWarning, stacklevel=3)


def load_tasks(preset: Preset, machine: Machine) -> list[Task]:
    """Load the preset's tasks and tell no warnings: another process has. Raises DataError, ConfigError."""
    return preset.scenario(machine.source).load(machine.device)


def warning_rows(tasks: Sequence[Task]) -> list[dict[str, Any]]:
    """The warnings of the tasks' data as facts, numbered within their task."""
    return [
        {"task": task.id, "phase": DATA, "name": "warning", "value": float(number), "text": line}
        for task in tasks
        for number, line in enumerate(task.warnings)
    ]


_loaded: dict[tuple[str, SourceOptions, str], list[Task]] = {}


def tasks_elsewhere(preset: Preset, source: SourceOptions, device: str) -> list[Task]:
    """The tasks of a preset made by `Preset.elsewhere`; loaded once. Raises DataError, ConfigError."""
    key = (canonical_json(preset.file.scenario), source, device)
    if key not in _loaded:
        _loaded[key] = preset.scenario(source).load(device)
    return _loaded[key]


def count_as_loaded(preset: Preset, source: SourceOptions, device: str, tasks: list[Task]) -> None:
    """Let `tasks_elsewhere` give these tasks, which another process loaded and sent here."""
    _loaded[canonical_json(preset.file.scenario), source, device] = tasks
