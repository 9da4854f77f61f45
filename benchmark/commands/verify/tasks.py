"""The tasks of a run: the stored table, the identity and the data set must say the same."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from benchmark.commands.verify.findings import Finding, Problems
from benchmark.errors import ConfigError
from benchmark.planning.options import RunOptions
from benchmark.planning.presets import validated
from benchmark.planning.protocols import task_rows
from benchmark.plugins import SCENARIOS
from reports.numbers.wording import counted
from results.records import Run
from scenarios.base import DataError, SourceOptions, Task, fingerprint_of_stream


def verify_tasks(run: Run, stored: pd.DataFrame, tasks: Sequence[Task] | None, lacking: str) -> Finding:
    """Compare tasks.parquet with the identity and with the data set.

    stored: the rows of tasks.parquet. tasks: the data set; None if it is not here, and `lacking` says why.
    """
    problems = Problems()
    identity = run.identity.get("scenario")
    scenario = identity if isinstance(identity, dict) else {}
    if stored["task"].tolist() != list(range(len(stored))):
        problems.add("tasks.parquet does not hold each task once, in order")
    if stored["name"].tolist() != scenario.get("tasks"):
        problems.add("other tasks than the identity says")
    if fingerprint_of_stream(map(str, stored["fingerprint"])) != scenario.get("fingerprint"):
        problems.add("fingerprints of tasks that are not those of the identity")
    count = counted(len(stored), "task")
    if tasks is None:
        return Finding("tasks", count, problems.lines(), f"the data set: {lacking}")
    for expected, row in zip(task_rows(tasks), stored.to_dict("records"), strict=False):
        plain = {name: list(value) if name == "classes" else value for name, value in row.items()}
        if differing := [name for name, value in expected.items() if plain.get(name) != value]:
            problems.add(
                "a task that is not that of the data set", [f"task {expected['task']} ({', '.join(differing)})"]
            )
    if len(tasks) != len(stored):
        problems.add(f"{len(stored)} tasks, the data set has {len(tasks)}")
    return Finding("tasks", count, problems.lines())


def tasks_of_identity(run: Run, options: RunOptions) -> list[Task] | None:
    """Load the tasks that a run's identity names, without a preset. None if the scenario or its data is not here."""
    scenario = run.identity.get("scenario")
    if not isinstance(scenario, dict) or scenario.get("file"):
        return None
    try:
        plugin = SCENARIOS.named(str(scenario.get("name")))
        settings = validated(plugin.cls.Settings, scenario.get("settings", {}), "scenario")
        found = plugin.cls(settings, SourceOptions(options.data_root))
        # An identity need not say how the tasks were chosen; their names, classes and images are in it.
        return found.load() if list(found.stream().names) == scenario.get("tasks") else None
    except (ConfigError, DataError):
        return None
