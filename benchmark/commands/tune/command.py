"""The `tune` command: learns the first tasks of a preset at every point of a grid, then compares what validates best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from benchmark.commands.learning_only import learn, still_to_learn
from benchmark.commands.timing.rates import measure_rates
from benchmark.commands.tune.grid import Point, points_of
from benchmark.commands.tune.planned_rows import PlannedRow, plan_rows
from benchmark.commands.tune.validating import validated
from benchmark.errors import ConfigError
from benchmark.planning.machine import Machine, check_writable, make_machine
from benchmark.planning.options import RunOptions
from benchmark.planning.presets import Preset, load_preset
from benchmark.planning.tasks import load_with_progress
from benchmark.running.progress.duration import duration
from reports.numbers.wording import counted
from reports.tuning.files import show, write
from reports.tuning.tuned import TunedRow, trials_of
from results.files import StoreError, require_folder
from scenarios.base import SourceOptions, Task

SEED = 0
"""The seed of the runs, if none is given."""


@dataclass(frozen=True)
class TuneOptions:
    """The options of the `tune` command.

    run: the options that `run` has too.
    grid: `KEY=V,V` each; None for the default grid.
    tasks: that are learned, from the start of the stream, at most.
    output: the folder that `tuning/` is written into.
    """

    run: RunOptions
    grid: Sequence[str] | None
    tasks: int
    output: Path


def tune(options: TuneOptions, console: Console) -> int:
    """Learn what is not stored yet, validate it, and write table and figure. Returns 0, or 1 if something failed.

    Runs are stored beside those of `run`, in `tuning/`: they are of a shorter stream, and no rows of the preset's board. Raises
    ConfigError, DataError, MethodError, StoreError.
    """
    if options.tasks < 1:
        raise ConfigError(f"--tasks {options.tasks}: give 1 or more")
    run = options.run
    preset = _preset(run, Point())
    machine = _machine(run, preset)
    points = points_of(options.grid, preset)
    if not run.dry_run:
        check_writable(machine.runs)
        require_folder(options.output)
    preset = _shortened(preset, options.tasks, machine.source)
    # Presets of all points are read before images are: a value that does not fit is told at once.
    presets = {point: _shortened(_preset(run, point), options.tasks, machine.source) for point in points}
    tasks = load_with_progress(preset, machine, console)
    rows, jobs = plan_rows(preset, presets, run.methods, tasks, machine.source)
    todo = still_to_learn(jobs, machine, tasks)
    labels = counted(len({row.label for row in rows}), "row")
    text = (
        f"Tuning of {preset.name}: {labels} at {counted(len(points), 'point')} of the grid, {counted(len(tasks), 'task')}, "
        f"{len(todo)} of {len(jobs)} runs to learn"
    )
    if todo:
        rates = measure_rates([item.job for item in todo], preset.scenario(machine.source), machine)
        seconds = sum(rates.seconds(item.cost) for item in todo) / machine.workers
        text += f"; at most about {duration(seconds)} on {machine.device} with {machine.workers} x {machine.threads} threads"
    console.print(text, highlight=False, markup=False)
    if run.dry_run:
        return 0
    failures = learn(todo, machine, tasks, console) if todo else []
    trials = trials_of(_outcomes(rows, machine, tasks))
    for failure in failures:
        console.print(f"failed: {failure}", style="red", highlight=False, markup=False)
    for row in rows:
        if not row.is_learned(machine):
            console.print(f"left out: {row.label} at {row.point}", style="yellow", highlight=False, markup=False)
    if not trials:
        raise StoreError("no row could be learned as the preset has it, so there is nothing to compare with")
    show(trials, preset.name, len(tasks), console)
    for path in write(trials, preset.name, options.output):
        if path.suffix in (".csv", ".png"):
            console.print(str(path), highlight=False, markup=False, soft_wrap=True)
    return 1 if failures else 0


def _preset(run: RunOptions, point: Point) -> Preset:
    """The preset at a point of the grid. Raises ConfigError."""
    return load_preset(run.preset, [*run.overrides, *point.overrides], run.seeds or [SEED], run.methods)


def _machine(run: RunOptions, preset: Preset) -> Machine:
    machine = make_machine(run, preset)
    # A tracked record has no checkpoints, and a classifier is needed.
    return replace(machine, runs=run.results.parent / "tuning" / "runs").without_published()


def _shortened(preset: Preset, tasks: int, source: SourceOptions) -> Preset:
    """The preset on the first tasks of its stream. It is only learned by; its matrix is there because a preset must have one."""
    changes: dict[str, Any] = {"evaluation": {**preset.file.evaluation.model_dump(), "final": []}}
    if tasks < len(preset.scenario(source).stream()):
        changes["scenario"] = {**preset.file.scenario, "tasks": tasks}
    return preset.altered(**changes)


def _outcomes(rows: Sequence[PlannedRow], machine: Machine, tasks: Sequence[Task]) -> list[TunedRow]:
    """The outcomes of the rows that were learned with all their seeds.

    Without rows that were not learned as the preset has them: there is nothing to compare them with.
    """
    whole = [row for row in rows if row.is_learned(machine)]
    compared = {row.label for row in whole if row.own}
    torch.set_num_threads(machine.threads)
    found = []
    for row in whole:
        if row.label in compared:
            outcomes = {seed: validated(job, machine, tasks) for seed, job in row.jobs.items()}
            robust = {seed: [one.robust_correct.cpu().numpy() for one in each] for seed, each in outcomes.items()}
            clean = {seed: [one.clean_correct.cpu().numpy() for one in each] for seed, each in outcomes.items()}
            found.append(TunedRow(row.label, row.point.values, row.own, robust, clean))
    return found
