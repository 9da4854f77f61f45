"""Loading the tasks of a preset, and finding one by its number or name."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from benchmark.errors import ConfigError
from benchmark.planning.machine import Machine
from benchmark.planning.presets import Preset
from results.files import canonical_json
from scenarios.base import SourceOptions, Task


def find_task(tasks: Sequence[Task], name: str) -> Task:
    """The task with this number or name, as `--task` gives it. Raises ConfigError."""
    for task in tasks:
        if name in (str(task.id), task.name):
            return task
    valid = ", ".join(f"{task.id} ({task.name})" for task in tasks)
    raise ConfigError(f"--task {name}: no such task; valid: {valid}")


def load_with_progress(preset: Preset, machine: Machine, console: Console) -> list[Task]:
    """Load the preset's tasks; a progress bar shows images being decoded. Raises DataError, ConfigError."""
    from rich.progress import Progress, TaskID

    scenario = preset.scenario(machine.source)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        bars: dict[str, TaskID] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in bars:
                bars[what] = progress.add_task(what, total=total)
            progress.update(bars[what], completed=done, total=total)

        return scenario.load(machine.device, report)


def load_tasks(preset: Preset, machine: Machine) -> list[Task]:
    """Load the preset's tasks. Raises DataError, ConfigError."""
    return preset.scenario(machine.source).load(machine.device)


_loaded: dict[tuple[str, SourceOptions, str], list[Task]] = {}


def tasks_elsewhere(preset: Preset, source: SourceOptions, device: str) -> list[Task]:
    """The tasks of a preset made by `Preset.elsewhere`; loaded once. Raises DataError, ConfigError."""
    key = (canonical_json(preset.file.scenario), source, device)
    if key not in _loaded:
        _loaded[key] = preset.scenario(source).load(device)
    return _loaded[key]
