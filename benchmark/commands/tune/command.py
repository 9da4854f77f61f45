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
from benchmark.planning.jobs import Job
from benchmark.planning.machine import Machine, check_writable, make_machine
from benchmark.planning.options import RunOptions
from benchmark.planning.plan import Planned
from benchmark.planning.presets import Preset, load_preset
from benchmark.planning.stored_runs import last_checkpoint
from benchmark.planning.tasks import load_with_progress
from benchmark.running.progress.duration import duration
from methods.training.recipe import Recipe
from reports.numbers.wording import counted
from reports.tuning.files import folders, show, write
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

    Runs are stored beside those of `run`, in `tuning/`: nothing attacks them, and they are no rows of the preset's board. Raises
    ConfigError, DataError, MethodError, StoreError.
    """
    if options.tasks < 1:
        raise ConfigError(f"--tasks {options.tasks}: give 1 or more")
    run = options.run
    preset = _preset(run)
    machine = _machine(run, preset)
    points = points_of(options.grid, preset)
    preset = _shortened(preset, options.tasks, machine.source)
    # Presets of all points are read before images are: a value that does not fit is told at once.
    presets = {point: _shortened(_at_point(run, point), options.tasks, machine.source) for point in points}
    tasks = load_with_progress(preset, machine, console)
    rows, jobs = plan_rows(preset, presets, run.methods, tasks, machine.source)
    unvaried = list(dict.fromkeys(row.label for row in rows if not row.keys))
    if all(not row.keys for row in rows):
        raise ConfigError(f"--grid: {', '.join(points[0].keys)} changes none of the rows: {', '.join(unvaried)}")
    todo = [item for item in still_to_learn(jobs, machine, tasks) if not last_checkpoint(item.job, machine)]
    _announce(rows, points, jobs, todo, preset, tasks, machine, console)
    if unvaried:
        console.print(f"not varied by the grid: {', '.join(unvaried)}", highlight=False, markup=False)
    if run.dry_run:
        return 0
    check_writable(machine.runs)
    for folder in folders(options.output):
        require_folder(folder)
    where = {job.hash: str(row) for row in rows for job in row.jobs.values()}
    ended = learn(todo, machine, tasks, console) if todo else []
    failures = [f"{where.get(one.job, 'a run that rows need')}: {failure}" for one in ended for failure in one.failures]
    found, also_failed = _outcomes(rows, machine, tasks, preset.file.recipe)
    failures += also_failed
    for failure in failures:
        console.print(f"failed: {failure}", style="red", highlight=False, markup=False)
    for line in _left_out(rows, found):
        console.print(f"left out: {line}", style="yellow", highlight=False, markup=False)
    trials = trials_of(found)
    if not trials:
        raise StoreError("no row could be learned as the preset has it, so there is nothing to compare with")
    show(trials, preset.name, len(tasks), console)
    for path in write(trials, preset.name, len(tasks), options.output):
        if path.suffix in (".csv", ".png"):
            console.print(str(path), highlight=False, markup=False, soft_wrap=True)
    return 1 if failures else 0


def _preset(run: RunOptions, overrides: Sequence[str] | None = None) -> Preset:
    return load_preset(run.preset, run.overrides if overrides is None else overrides, run.seeds or [SEED], run.methods)


def _at_point(run: RunOptions, point: Point) -> Preset:
    """The preset at a point of the grid, which goes over `--set`. Raises ConfigError."""
    others = [text for text in run.overrides if text.partition("=")[0] not in point.keys]
    try:
        return _preset(run, [*others, *point.overrides])
    except ConfigError as error:
        # Without the point the preset was read before, so it is the grid that is wrong.
        raise ConfigError(str(error).replace("--set", "--grid")) from None


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


def _announce(
    rows: Sequence[PlannedRow],
    points: Sequence[Point],
    jobs: Sequence[Job],
    todo: Sequence[Planned],
    preset: Preset,
    tasks: Sequence[Task],
    machine: Machine,
    console: Console,
) -> None:
    """Print the work that there is, before anything starts, and its duration at most if there is something to learn."""
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


def _outcomes(
    rows: Sequence[PlannedRow], machine: Machine, tasks: Sequence[Task], judge: Recipe
) -> tuple[list[TunedRow], list[str]]:
    """The outcomes of the rows that were learned with all their seeds, and a line for each whose classifiers failed.

    Without labels that have no outcome as the preset has them: there is nothing to compare them with.
    """
    torch.set_num_threads(machine.threads)
    found, failures = [], []
    for row in rows:
        if not row.is_learned(machine):
            continue
        try:
            outcomes = {seed: validated(job, machine, tasks, judge) for seed, job in row.jobs.items()}
        # The code of a plug-in may raise anything, and the other rows are compared all the same.
        except Exception as error:
            failures.append(f"{row}: validation: {type(error).__name__}: {' '.join(str(error).split())}")
            continue
        robust = {seed: [one.robust_correct.cpu().numpy() for one in each] for seed, each in outcomes.items()}
        clean = {seed: [one.clean_correct.cpu().numpy() for one in each] for seed, each in outcomes.items()}
        points = tuple(point.values for point in row.points)
        found.append(TunedRow(row.label, points, row.keys, row.own, robust, clean))
    compared = {row.label for row in found if row.own}
    return [row for row in found if row.label in compared], failures


def _left_out(rows: Sequence[PlannedRow], found: Sequence[TunedRow]) -> list[str]:
    """A line for each label, or each of its points, that is not among the outcomes."""
    there = {(row.label, row.points) for row in found}
    labels = {row.label for row in found}
    lines = [
        f"{row.label} at all points, because there is no outcome as the preset has it to compare with"
        if row.label not in labels
        else str(row)
        for row in rows
        if (row.label, tuple(point.values for point in row.points)) not in there
    ]
    return list(dict.fromkeys(lines))
