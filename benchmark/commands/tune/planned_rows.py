"""The rows of a preset at the points of a grid, with their runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmark.commands.tune.grid import Point
from benchmark.planning.jobs import Job, make_jobs
from benchmark.planning.machine import Machine
from benchmark.planning.presets import Preset
from benchmark.planning.stored_runs import last_checkpoint
from scenarios.base import SourceOptions, Task


@dataclass(frozen=True)
class PlannedRow:
    """A row at a point of the grid.

    own: True if it is the row as the preset has it.
    jobs: its runs, by seed.
    """

    label: str
    point: Point
    own: bool
    jobs: dict[int, Job]

    def is_learned(self, machine: Machine) -> bool:
        """True if all seeds were learned to the last task."""
        return all(last_checkpoint(job, machine) for job in self.jobs.values())


def plan_rows(
    preset: Preset, at: dict[Point, Preset], methods: Sequence[str] | None, tasks: list[Task], source: SourceOptions
) -> tuple[list[PlannedRow], list[Job]]:
    """The rows at every point, and their runs, each after those it needs.

    at: the preset at each point of the grid.
    A row that trains at several points in the same way is there once. If it trains at no point as the preset has it, that is one
    more point, so that every row can be compared with itself.
    """
    jobs: dict[str, Job] = {}

    def runs_of(given: Preset) -> dict[str, dict[int, Job]]:
        """By label the runs of each row, by seed."""
        found = {}
        # Row by row: at some point two rows may be the same run.
        for row in given.choose(methods):
            made = make_jobs(given, [row], tasks, source)
            jobs.update({job.hash: job for job in made if job.weights or job.hash not in jobs})
            found[row.label] = {job.seed: job for job in made if job.of_preset}
        return found

    own = runs_of(preset)
    by_point = {point: runs_of(given) for point, given in at.items()}
    rows: list[PlannedRow] = []
    for label, as_it_stands in own.items():
        hashes = _hashes(as_it_stands)
        mine: dict[tuple[str, ...], PlannedRow] = {}
        for point, runs in by_point.items():
            found = _hashes(runs[label])
            mine.setdefault(found, PlannedRow(label, point, found == hashes, runs[label]))
        if hashes not in mine or len(mine) == 1:
            mine = {
                hashes: PlannedRow(label, Point(), True, as_it_stands),
                **{k: v for k, v in mine.items() if k != hashes},
            }
        rows += mine.values()
    return rows, list(jobs.values())


def _hashes(runs: dict[int, Job]) -> tuple[str, ...]:
    return tuple(runs[seed].hash for seed in sorted(runs))
