"""Runs that are there: finding them, noting what is demanded of them, and using one in another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import nn

from benchmark.check_attacks import check_demands
from benchmark.context import RunContext
from benchmark.demands import Demand
from benchmark.identity import attack_name
from benchmark.jobs import Job, Machine
from methods.base import Method, MethodError, State
from methods.training import Validation
from results.checkpoints import Checkpoints
from results.records import DIRECTORY_DIGITS, Run, read_run
from results.store import RunStore, demand_of_published
from scenarios.base import Stream, Task


def find_run(run_hash: str, machine: Machine) -> Run | None:
    """The stored run with this hash: the local one, or a published one that holds more."""
    name = run_hash[:DIRECTORY_DIGITS]
    local = machine.runs / name
    found = []
    for directory in [local, *sorted(machine.published.glob(f"*/{name}"))]:
        if (directory / "config.json").exists():
            run = read_run(directory, published=directory != local)
            if run.hash == run_hash:
                found.append(run)
    return max(found, key=lambda run: run.measured_cells, default=None)


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


class FinishedRun:
    """A finished run that another one needs (`methods.base.Prerequisite`)."""

    def __init__(self, job: Job, machine: Machine) -> None:
        run = find_run(job.hash, machine)
        if run is None:
            raise MethodError(f"the prerequisite run {job} is not stored")
        self.job, self.machine, self.run = job, machine, run

    def fact(self, name: str, task: int) -> float:
        """A fact's value, the last recorded where several phases recorded it. Raises MethodError if there is none."""
        facts = self.run.facts
        found = facts[(facts["name"] == name) & (facts["task"] == task)]["value"].dropna()
        if found.empty:
            raise MethodError(f"prerequisite {self.job} holds no fact {name!r} of task {task}")
        return float(found.iloc[-1])

    def validation(self, task: int) -> Validation:
        """What its classifier of a task got right on the validation images, as the harness found it. Raises MethodError."""
        facts = self.run.facts
        found = facts[(facts["phase"] == "harness") & (facts["task"] == task)].dropna(subset=["text"])
        texts = dict(zip(found["name"], found["text"], strict=True))
        try:
            return Validation.from_json({kind: texts[f"validation_{kind}"] for kind in ("clean", "robust")})
        except (KeyError, ValueError):
            raise MethodError(
                f"prerequisite {self.job} does not hold what it got right on the validation images of task {task}, so there is "
                f"no goal; run `run --methods {self.job.method} --force` first"
            ) from None

    @cached_property
    def _method(self) -> Method:
        names = task_checkpoints(Checkpoints(RunStore(self.machine.runs, self.job.hash).directory / "checkpoints"))
        if not names:
            raise MethodError(f"prerequisite {self.job} holds no checkpoint; run it again with --force")
        return restored_method(self.job, self.machine, names[-1])

    def classifier(self, task: int) -> nn.Module:
        """The classifier of a task as it was after the last one. Raises MethodError if the run holds no checkpoint."""
        return self._method.classifier(task)


def task_key(turn: int) -> str:
    """The name of the checkpoint made when task `turn` was learned."""
    return f"task-{turn:03d}"


def stream_of(job: Job, machine: Machine) -> Stream:
    return job.preset.scenario(machine.source).stream()


def task_checkpoints(checkpoints: Checkpoints) -> list[str]:
    """Names of the checkpoints made when a task was learned, in order; those of stages inside a task are left out."""
    return [name for name in checkpoints.names() if "." not in name]


def restored_method(job: Job, machine: Machine, key: str) -> Method:
    """A fresh instance of the job's method that was given the state of checkpoint `key` and nothing else. Raises StoreError."""
    store, device = RunStore(machine.runs, job.hash), torch.device(machine.device)
    method = job.new_method()
    context = RunContext(job, device, method, store, {}, lambda event: None)
    method.begin(stream_of(job, machine), context)
    method.load_state(restored_state(Checkpoints(store.directory / "checkpoints"), key, device))
    return method


def restored_state(checkpoints: Checkpoints, name: str, device: torch.device) -> State:
    """A method's state from one of its run's checkpoints, on the device. Raises StoreError."""
    stored = checkpoints.load(name, device)
    return State(stored.tensors, stored.values["method"])


class Classifiers:
    """Classifiers of stored runs, from their checkpoints; each method is restored once for each turn that is asked for."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._methods: dict[tuple[str, str], Method] = {}

    def of(self, job: Job, turn: int | None, task: int) -> nn.Module:
        """The classifier of a task after `turn`, None: after the last one; on the machine's device.

        Where a method that does not forget kept no checkpoint of that turn its last state says the same. Raises MethodError if
        there is no such checkpoint, StoreError if it cannot be read.
        """
        names = task_checkpoints(Checkpoints(RunStore(self.machine.runs, job.hash).directory / "checkpoints"))
        if not names:
            raise MethodError(f"{job} holds no checkpoint; run it again with --force")
        wanted = names[-1] if turn is None else task_key(turn)
        if wanted not in names and "unforgetting" in job.new_method().claimed():
            wanted = names[-1]
        if wanted not in names:
            raise MethodError(f"{job} holds no checkpoint of task {turn} (keep: {job.preset.file.keep})")
        key = (job.hash, wanted)
        if key not in self._methods:
            self._methods[key] = restored_method(job, self.machine, wanted)
        return self._methods[key].classifier(task).to(self.machine.device)
