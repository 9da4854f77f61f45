"""Jobs: the runs that a preset demands, as data, each after the runs that it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from benchmark.errors import ConfigError
from benchmark.planning.identity import run_identity
from benchmark.planning.machine import Machine
from benchmark.planning.presets import Preset, PresetRow, validated
from benchmark.planning.tasks import tasks_elsewhere
from benchmark.plugins import METHODS, Plugin
from methods.backbones import MultiHead
from methods.base import Method, MethodError, MethodSettings, RunSpec
from methods.training.recipe import Recipe
from results.files import digest
from results.schema import UNFORGETTING
from scenarios.base import SourceOptions, Stream, Task, fingerprint_of_tasks


@dataclass(frozen=True)
class Job:
    """One run that a preset demands. It is picklable: another process executes it.

    preset: gives data, network and attacks.
    identity: the canonical fields of the run, with its hash (`run_identity`).
    method: name of the method, or path of its file.
    settings: the method's settings as JSON.
    recipe: how it trains.
    seed: of the run, 0 or more.
    stream: that it learns, without images.
    of_preset: True for a row of the preset, False for a run that only other runs need.
    needs: jobs of the runs that this one needs, by `spec_key` of their RunSpec.
    weights: True if another run needs the classifiers; stored records are then not enough.
    elsewhere: True if the run is of another scenario than the preset's rows; `preset` is then the one for that scenario.
    learn_only: True if nothing is to be attacked, because only other runs need the run or its published record is complete.
    sources: jobs whose classifiers transfers are made on, by their name in the preset; only in a job that makes transfers.
    """

    preset: Preset
    identity: dict[str, Any]
    method: str
    settings: dict[str, Any]
    recipe: Recipe
    seed: int
    stream: Stream
    of_preset: bool
    needs: dict[str, Job] = field(default_factory=dict)
    weights: bool = False
    elsewhere: bool = False
    learn_only: bool = False
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

    @property
    def typed_settings(self) -> MethodSettings:
        return self.plugin.cls.Settings.model_validate(self.settings)

    def new_method(self) -> Method:
        """Make an untrained instance of the method."""
        return self.plugin.cls(self.typed_settings)

    @property
    def learns(self) -> bool:
        """True if the run must be learned although no cell is missing: other runs need its records or its classifiers."""
        return self.weights or self.learn_only

    @property
    def all_at_once(self) -> bool:
        """True if the method learns all tasks in one turn."""
        return "all_tasks" in self.plugin.cls.needs

    @property
    def claims_unforgetting(self) -> bool:
        """True if the method claims with these settings that it forgets nothing, and is told the task."""
        return self.asks(0) is not None and UNFORGETTING in self.new_method().claimed()

    def asks(self, task: int) -> int | None:
        """As `Stream.asks`, of the stream that the job learns."""
        return self.stream.asks(task)

    def turns(self, tasks: int) -> list[int]:
        """The turns of learning a stream of `tasks` tasks: after each, the id of the task that was learned last."""
        return [tasks - 1] if self.all_at_once else list(range(tasks))

    def __str__(self) -> str:
        return f"{self.label} (seed {self.seed})"


def spec_key(spec: RunSpec) -> str:
    """The key of a required run in `Job.needs`."""
    where = {} if spec.scenario is None else {"scenario": dict(spec.scenario)}
    return digest({"method": spec.method, "settings": dict(spec.settings), **where})


def tasks_of(job: Job, tasks: list[Task], machine: Machine) -> list[Task]:
    """The tasks that a job learns: `tasks` of the preset, unless the job is of another scenario. Raises DataError."""
    return tasks_elsewhere(job.preset, machine.source, machine.device) if job.elsewhere else tasks


def make_jobs(
    preset: Preset, rows: Sequence[PresetRow], tasks: Sequence[Task], scenario_source: SourceOptions
) -> list[Job]:
    """Make one job per row and seed, and one per run that these need; every job follows those it needs.

    A run that several jobs need has one job. Raises ConfigError, and MethodError if a method's settings do not fit the preset's
    network.
    """
    stream, tests = preset.scenario(scenario_source).stream(), frozenset(task.test_fingerprint for task in tasks)
    here = _Place(preset, stream, fingerprint_of_tasks(tasks), tests, _train_counts(tasks))
    try:
        preset.file.backbone.check_start(here.network().backbone)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    jobs: dict[str, Job] = {}

    def add(place: _Place, row: PresetRow, seed: int, above: tuple[str, ...]) -> Job:
        """Add the job of a row and the jobs it needs. above: methods that need it, from the preset's row on; empty for a row."""
        plugin, settings = row.plugin, row.settings
        if plugin.name in above:
            raise ConfigError(f"method {plugin.name} requires itself ({' → '.join([*above, plugin.name])})")
        _check_fit(plugin, settings, place)
        needs = {}
        for spec in plugin.cls.requires(settings):
            needed = METHODS.find(spec.method)
            their = validated(needed.cls.Settings, dict(spec.settings), f"method {plugin.name} requires {needed.name}")
            at, recipe = place, row.recipe
            if spec.scenario is not None:
                at, recipe = place.elsewhere(spec, scenario_source), preset.file.recipe
            job = add(at, PresetRow(needed, "", their, recipe), seed, (*above, plugin.name))
            if spec.weights:
                job = jobs[job.hash] = replace(job, weights=True)
            needs[spec_key(spec)] = job
        needed_runs = [job.identity for job in needs.values()]
        label = None if above else row.label
        identity = run_identity(
            place.preset, place.stream, place.fingerprint, plugin, settings, row.recipe, seed, needed_runs, label=label
        )
        known = jobs.get(identity["hash"])
        if known is not None and known.of_preset and not above:
            raise ConfigError(f"rows {known.label!r} and {label!r} are the same run: give one of them other settings")
        if known is None:
            known = Job(
                place.preset, identity, plugin.reference, settings.model_dump(), row.recipe, seed, place.stream,
                of_preset=not above, needs=needs, elsewhere=place is not here,
            )  # fmt: skip
        elif not above:
            known = replace(known, identity=identity, of_preset=True)
        jobs[known.hash] = known
        return known

    for seed in preset.file.seeds:
        for row in rows:
            add(here, row, seed, ())
    return list(jobs.values())


@dataclass(frozen=True)
class _Place:
    """A preset with its stream and data, where something is learned.

    preset, stream: of the scenario.
    fingerprint: of the decoded data and its split.
    tests: fingerprints of the tasks' test images.
    train_counts: training images of each task.
    """

    preset: Preset
    stream: Stream
    fingerprint: str
    tests: frozenset[str] = frozenset()
    train_counts: tuple[int, ...] = ()

    def network(self) -> MultiHead:
        """The preset's network for this stream, on the meta device: it has shapes, and no values."""
        with torch.device("meta"):
            backbone = self.preset.file.backbone.build(self.stream.image_shape)
            return MultiHead(backbone, self.stream.class_counts, self.stream.mean, self.stream.std)

    def elsewhere(self, spec: RunSpec, source: SourceOptions) -> _Place:
        """The place of `spec`'s scenario. Raises ConfigError if its images have another shape, or are those of this stream."""
        assert spec.scenario is not None
        preset = self.preset.elsewhere(spec.scenario, spec.method, spec.settings)
        stream = preset.scenario(source).stream()
        if stream.image_shape != self.stream.image_shape:
            raise ConfigError(
                f"pre-training on {preset.scenario_plugin.name}: its images are {list(stream.image_shape)}, those of this preset "
                f"{list(self.stream.image_shape)}; a scenario with images of the same shape is needed"
            )
        tasks = tasks_elsewhere(preset, source, "cpu")
        for task in tasks:
            if task.test_fingerprint in self.tests:
                raise ConfigError(
                    f"pre-training on {preset.scenario_plugin.name}: {task.name} is a task of this preset too, so it is no "
                    "extra data; choose other tasks (tasks, skip)"
                )
        return _Place(preset, stream, fingerprint_of_tasks(tasks), train_counts=_train_counts(tasks))


def _train_counts(tasks: Sequence[Task]) -> tuple[int, ...]:
    return tuple(len(task.train) for task in tasks)


def _check_fit(plugin: Plugin[Method], settings: MethodSettings, place: _Place) -> None:
    """Raise MethodError unless a method can learn a stream with these settings."""
    can, asked = plugin.cls.can_answer(settings), place.stream.protocol
    if asked not in can:
        raise MethodError(
            f"method {plugin.name} cannot answer under protocol {asked} with these settings: it can under "
            f"{' and '.join(sorted(can))} (scenario.protocol)"
        )
    plugin.cls.check(settings, place.network())
    plugin.cls.check_data(settings, place.train_counts)
