"""The demands of a preset as they are recorded with a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from benchmark.planning.demands import Demand
from benchmark.planning.extra_attacks import extra_demands
from benchmark.planning.jobs import Job
from benchmark.planning.machine import Machine
from benchmark.planning.presets import Preset
from results.store import RunStore, demand_of_published
from scenarios.base import Task


@dataclass(frozen=True)
class RunProtocol:
    """The demands of a preset on one run. Reports and later commands read them from its `config.json`.

    label: name of the row.
    eps, ranking_eps: of the preset, exact text such as `8/255`.
    matrix: names of the attacks after every task.
    matrix_samples: number of samples per task, by attack of the matrix that does not cover all.
    final: names of the attacks after the last task.
    samples: number of samples per task, by attack after the last task that does not cover all.
    transfers: names of the transfers. They are made once their sources are stored; a row is complete without them.
    checks: names of the extra attacks; a row is complete without them.
    versions: the version of each attack that numbers are made of, by its name.
    tasks: number of tasks.
    all_at_once: True if the method learns all tasks in one turn.
    claims, needs: of the method, sorted.
    own_recipe: the fields of the row's recipe, by dotted name, that differ from the preset's.
    source: where settings and recipe come from, if the preset says so.
    row_of_preset: False for a run that only other runs need.
    command: the command line.
    """

    label: str
    eps: str
    ranking_eps: str
    matrix: list[str]
    matrix_samples: dict[str, int]
    final: list[str]
    samples: dict[str, int]
    transfers: list[str]
    checks: list[str]
    versions: dict[str, int]
    tasks: int
    all_at_once: bool = False
    claims: list[str] = field(default_factory=list)
    needs: list[str] = field(default_factory=list)
    own_recipe: dict[str, Any] = field(default_factory=dict)
    source: str = ""
    row_of_preset: bool = True
    command: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def protocol_of(job: Job, command: str, tasks: Sequence[Task]) -> RunProtocol:
    """The demands of the job's preset on its run."""
    return replace(
        preset_protocol(job.preset, tasks, job.label if job.of_preset else job.plugin.name),
        all_at_once=job.all_at_once,
        claims=sorted(job.new_method().claimed()),
        needs=sorted(job.plugin.cls.needs),
        own_recipe=_own_recipe(job),
        source=next((row.source for row in job.preset.rows if job.of_preset and row.label == job.label), ""),
        row_of_preset=job.of_preset,
        command=command,
    )


def preset_protocol(preset: Preset, tasks: Sequence[Task], label: str, *, transfers: bool = True) -> RunProtocol:
    """The demands of a preset on any run with this label. transfers: False to leave its transfers out."""

    def names(demands: Sequence[Demand]) -> list[str]:
        return [preset.attack_name(demand.attack) for demand in demands]

    def samples(demands: Sequence[Demand]) -> dict[str, int]:
        return {preset.attack_name(demand.attack): demand.samples for demand in demands if demand.samples is not None}

    from_others = preset.transfers if transfers else []
    return RunProtocol(
        label=label,
        eps=str(preset.eps),
        ranking_eps=str(preset.eps),
        matrix=names(preset.matrix),
        matrix_samples=samples(preset.matrix),
        final=names(preset.final),
        samples=samples([*preset.final, *from_others]),
        transfers=names(from_others),
        checks=names(extra_demands(preset, tasks)),
        versions={
            preset.attack_name(demand.attack): demand.attack.version
            for demand in [*preset.matrix, *preset.final, *from_others]
        },
        tasks=len(tasks),
    )


def record_demand(job: Job, machine: Machine, tasks: Sequence[Task], *, published: bool = False) -> None:
    """Record with the run what the preset demands of it.

    published: True if the run is a tracked record. A run changes no tracked file, so its demands stand beside the local runs.
    """
    protocol = protocol_of(job, machine.command, tasks).to_json()
    if published:
        demand_of_published(machine.runs, job.hash, job.preset.name, protocol)
    else:
        RunStore(machine.runs, job.hash).demand(job.preset.name, protocol)


def _own_recipe(job: Job) -> dict[str, Any]:
    """The fields of a job's recipe that differ from its preset's, by dotted name."""
    its, common = flat(job.recipe.model_dump(mode="json")), flat(job.preset.file.recipe.model_dump(mode="json"))
    return {name: value for name, value in its.items() if value != common[name]}


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values by dotted name: {"a": {"b": 1}} → {"a.b": 1}."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found


def task_rows(tasks: Sequence[Task]) -> list[dict[str, Any]]:
    """The rows of `tasks.parquet`, one per task."""
    return [
        {
            "task": task.id,
            "name": task.name,
            "classes": list(task.classes),
            "train": len(task.train),
            "validation": len(task.validation),
            "test": len(task.test),
            "chance": task.chance(len(tasks) - 1),
            "fingerprint": task.fingerprint,
            "test_fingerprint": task.test_fingerprint,
        }
        for task in tasks
    ]
