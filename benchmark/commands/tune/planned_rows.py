"""The rows of a preset at the points of a grid, with their runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from benchmark.commands.tune.grid import Point
from benchmark.planning.jobs import Job, make_jobs
from benchmark.planning.machine import Machine
from benchmark.planning.presets import Preset
from benchmark.planning.stored_runs import last_checkpoint
from scenarios.base import SourceOptions, Task


@dataclass(frozen=True)
class PlannedRow:
    """A row as it trains at some points of the grid.

    points: the points at which it trains like this; none for the row as the preset has it, if no point of the grid is that.
    keys: of the grid, those that change this row; empty for a row that the grid does not vary.
    own: True if the row trains as the preset has it.
    jobs: its runs, by seed.
    """

    label: str
    points: tuple[Point, ...]
    keys: tuple[str, ...]
    own: bool
    jobs: dict[int, Job]

    @property
    def point(self) -> Point:
        """The values of the keys that change this row."""
        return self.points[0].of(self.keys) if self.points and self.keys else Point()

    def is_learned(self, machine: Machine) -> bool:
        """True if all seeds were learned to the last task."""
        return all(last_checkpoint(job, machine) for job in self.jobs.values())

    def __str__(self) -> str:
        return f"{self.label} at {self.point}" if self.point.values else f"{self.label} as the preset has it"


def plan_rows(
    preset: Preset,
    at: Mapping[Point, Preset],
    methods: Sequence[str] | None,
    tasks: Sequence[Task],
    source: SourceOptions,
) -> tuple[list[PlannedRow], list[Job]]:
    """The rows at every point, and their runs, each after those it needs.

    at: the preset at each point of the grid.
    A row that trains at several points in the same way is there once. If it trains at no point as the preset has it, that is one
    more, so that every row can be compared with itself.
    """
    jobs: dict[str, Job] = {}

    def add(made: Sequence[Job]) -> None:
        for job in made:
            known = jobs.get(job.hash, job)
            # A run may be a row here, and needed by another one there.
            jobs[job.hash] = replace(
                job, of_preset=job.of_preset or known.of_preset, weights=job.weights or known.weights
            )

    made = make_jobs(preset, preset.choose(methods), tasks, source)
    add(made)
    own: dict[str, dict[int, Job]] = {}
    for job in made:
        if job.of_preset:
            own.setdefault(job.label, {})[job.seed] = job
    by_label: dict[str, dict[Point, dict[int, Job]]] = {label: {} for label in own}
    for point, given in at.items():
        # Row by row: at some point two rows may be the same run.
        for row in given.choose(methods):
            made = make_jobs(given, [row], tasks, source)
            add(made)
            by_label[row.label][point] = {job.seed: job for job in made if job.of_preset}
    rows = [row for label, runs in by_label.items() for row in _rows(label, own[label], runs)]
    return rows, list(jobs.values())


def _rows(label: str, own: dict[int, Job], runs: Mapping[Point, dict[int, Job]]) -> list[PlannedRow]:
    """A row for every way in which a label trains at some point. own: its runs as the preset has it."""
    ways: dict[tuple[str, ...], list[Point]] = {}
    for point, jobs in runs.items():
        ways.setdefault(_hashes(jobs), []).append(point)
    keys = _keys_of_change(own, runs)
    found = [
        PlannedRow(label, tuple(points), keys, way == _hashes(own), runs[points[0]]) for way, points in ways.items()
    ]
    return found if any(row.own for row in found) else [PlannedRow(label, (), keys, True, own), *found]


def _keys_of_change(own: dict[int, Job], runs: Mapping[Point, dict[int, Job]]) -> tuple[str, ...]:
    """The keys of a grid that change a row: of two points that differ in nothing else they make two runs.

    A key of a single value has no such points. It counts if the row is nowhere as the preset has it.
    """
    found = []
    away = all(_hashes(jobs) != _hashes(own) for jobs in runs.values())
    for key in next(iter(runs)).keys:
        if away and len({point.of([key]) for point in runs}) == 1:
            found.append(key)
            continue
        ways: dict[Point, set[tuple[str, ...]]] = {}
        for point, jobs in runs.items():
            ways.setdefault(point.without(key), set()).add(_hashes(jobs))
        if any(len(each) > 1 for each in ways.values()):
            found.append(key)
    return tuple(found)


def _hashes(runs: Mapping[int, Job]) -> tuple[str, ...]:
    return tuple(runs[seed].hash for seed in sorted(runs))
