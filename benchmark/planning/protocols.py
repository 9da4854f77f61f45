"""What a preset demands of a run, as it is recorded with the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmark.evaluating.fingerprints import attack_name
from benchmark.planning.demands import Demand
from benchmark.planning.extra_attacks import check_demands
from benchmark.planning.jobs import Job
from benchmark.planning.machine import Machine
from results.store import RunStore, demand_of_published
from scenarios.base import Task


def demand(job: Job, machine: Machine, tasks: Sequence[Task], *, published: bool = False) -> None:
    """Note with the run what the preset demands of it: what reports and later resumptions measure it against.

    Published records are tracked files that a run does not change: what is demanded of them stands beside the local runs.
    """
    protocol = protocol_of(job, machine.command, tasks)
    if published:
        demand_of_published(machine.runs, job.hash, job.preset.name, protocol)
    else:
        RunStore(machine.runs, job.hash).demand(job.preset.name, protocol)


def protocol_of(job: Job, command: str, tasks: Sequence[Task]) -> dict[str, Any]:
    """What the job's preset demands of its run, as it is recorded with it."""
    preset = job.preset
    seed = preset.file.evaluation.seed

    def samples(demands: Sequence[Demand]) -> dict[str, int]:
        return {attack_name(d.attack, seed): d.samples for d in demands if d.samples is not None}

    checks = check_demands(preset, tasks)
    return {
        "label": job.label if job.of_preset else job.plugin.name,
        "eps": str(preset.eps),
        "ranking_eps": str(preset.eps),
        "matrix": [attack_name(demand.attack, seed) for demand in preset.matrix],
        "matrix_samples": samples(preset.matrix),
        "final": [attack_name(demand.attack, seed) for demand in preset.final],
        "samples": samples([*preset.final, *preset.transfers]),
        # Made where their sources are stored too; a row is complete without them.
        "transfers": [attack_name(demand.attack, seed) for demand in preset.transfers],
        # For the verdicts alone; a row is complete without them.
        "checks": [attack_name(demand.attack, seed) for demand in checks],
        "tasks": len(tasks),
        "all_at_once": "all_tasks" in job.plugin.cls.needs,
        "claims": sorted(job.new_method().claimed()),
        "needs": sorted(job.plugin.cls.needs),
        "own_recipe": _own_recipe(job),
        "source": next((row.source for row in preset.rows if job.of_preset and row.label == job.label), ""),
        "row_of_preset": job.of_preset,
        "command": command,
    }


def _own_recipe(job: Job) -> dict[str, Any]:
    """The fields of a job's recipe, by dotted name, that differ from its preset's."""
    its, common = flat(job.recipe.model_dump(mode="json")), flat(job.preset.file.recipe.model_dump(mode="json"))
    return {name: value for name, value in its.items() if value != common[name]}


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values by dotted name: {"a": {"b": 1}} → {"a.b": 1}."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found


def task_rows(tasks: Sequence[Task]) -> list[dict[str, Any]]:
    """The rows of `tasks.parquet`."""
    return [
        {
            "task": task.id,
            "name": task.name,
            "classes": list(task.classes),
            "train": len(task.train),
            "validation": len(task.validation),
            "test": len(task.test),
            "chance": task.chance,
            "fingerprint": task.fingerprint,
            "test_fingerprint": task.test_fingerprint,
        }
        for task in tasks
    ]
