"""What is to be done, as data: jobs (one run each), in an order in which every job follows what it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmark.errors import ConfigError
from benchmark.identity import run_identity
from benchmark.plugins import METHODS, Plugin
from benchmark.presets import Preset, Row, validated
from methods.base import Method, MethodSettings, RunSpec
from methods.recipe import Recipe
from results.files import digest
from scenarios.base import SourceOptions, Task, fingerprint_of_tasks


@dataclass(frozen=True)
class Job:
    """One run that a preset demands. Picklable: another process executes it.

    of_preset: whether it is a row, or only needed by one. needs: by the digest of each RunSpec the job of its run.
    weights: whether another run needs its classifiers, so that records alone do not do. sources: not empty in a job that only
    makes transfers: by what a source is called the job whose classifiers they are made on.
    """

    preset: Preset
    identity: dict[str, Any]
    method: str
    settings: dict[str, Any]
    recipe: Recipe
    seed: int
    of_preset: bool
    needs: dict[str, Job] = field(default_factory=dict)
    weights: bool = False
    sources: dict[str, Job] = field(default_factory=dict)

    @property
    def hash(self) -> str:
        return self.identity["hash"]

    @property
    def label(self) -> str:
        return self.identity["label"]

    @property
    def plugin(self) -> Plugin[Method]:
        return METHODS.find(self.method)

    def new_method(self) -> Method:
        """An untrained instance of the method."""
        return self.plugin.cls(self.typed_settings)

    @property
    def typed_settings(self) -> MethodSettings:
        return self.plugin.cls.Settings.model_validate(self.settings)

    def __str__(self) -> str:
        return f"{self.label} (seed {self.seed})"


@dataclass(frozen=True)
class Machine:
    """Where and how jobs are executed: provenance, never identity.

    runs: where run directories are; published: tracked records that count as existing; threads: per worker.
    """

    runs: Path
    published: Path
    source: SourceOptions
    device: str
    workers: int
    threads: int
    command: str


def spec_key(spec: RunSpec) -> str:
    return digest({"method": spec.method, "settings": dict(spec.settings)})


def make_jobs(preset: Preset, rows: Sequence[Row], tasks: Sequence[Task], scenario_source: SourceOptions) -> list[Job]:
    """One job per row and seed, and one per prerequisite, each after what it needs; a run needed twice stands once."""
    stream = preset.scenario(scenario_source).stream()
    fingerprint = fingerprint_of_tasks(tasks)
    jobs: dict[str, Job] = {}

    def add(
        plugin: Plugin[Method],
        label: str | None,
        settings: MethodSettings,
        recipe: Recipe,
        seed: int,
        above: tuple[str, ...],
    ) -> Job:
        if plugin.name in above:
            raise ConfigError(f"method {plugin.name} requires itself ({' → '.join([*above, plugin.name])})")
        needs = {}
        for spec in plugin.cls.requires(settings):
            needed = METHODS.find(spec.method)
            their = validated(needed.cls.Settings, dict(spec.settings), f"method {plugin.name} requires {needed.name}")
            job = add(needed, None, their, recipe, seed, (*above, plugin.name))
            if spec.weights:
                job = jobs[job.hash] = replace(job, weights=True)
            needs[spec_key(spec)] = job
        needed_runs = [job.identity for job in needs.values()]
        identity = run_identity(preset, stream, fingerprint, plugin, settings, recipe, seed, needed_runs, label=label)
        known = jobs.get(identity["hash"])
        if known is not None and known.of_preset and label is not None:
            raise ConfigError(f"rows {known.label!r} and {label!r} are the same run: give one of them other settings")
        if known is None:
            of_preset = label is not None
            known = Job(preset, identity, plugin.reference, settings.model_dump(), recipe, seed, of_preset, needs)
        elif label is not None:
            known = replace(known, identity=identity, of_preset=True)
        jobs[known.hash] = known
        return known

    for seed in preset.file.seeds:
        for row in rows:
            add(row.plugin, row.label, row.settings, row.recipe, seed, ())
    return list(jobs.values())
