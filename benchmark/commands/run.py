"""`run`: from a preset to stored results."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from benchmark.planning.jobs import make_jobs, tasks_of
from benchmark.planning.machine import Machine, check_writable, make_machine
from benchmark.planning.options import RunOptions
from benchmark.planning.plan import Planned, checkpoint_gigabytes, plan, seconds_per_pass
from benchmark.planning.presets import Preset, load_preset
from benchmark.planning.protocols import demand, task_rows
from benchmark.planning.tasks import load_with_progress
from benchmark.running.engine import run_jobs
from benchmark.running.progress import Display, duration
from benchmark.running.transfers import plan_transfers
from benchmark.running.verdict_files import write_verdicts
from reports.numbers.wording import counted
from results.files import StoreError
from results.store import RunStore, now
from scenarios.base import Task


def run(options: RunOptions, console: Console) -> int:
    """Do what the options ask for. Returns the exit code: 0, or 1 if some cells failed. Raises ConfigError, DataError."""
    preset = load_preset(
        options.preset, options.overrides, options.seeds, options.methods, options.pretrain, options.checks
    )
    rows = preset.choose(options.methods)
    machine = make_machine(options, preset)
    if not options.dry_run:
        check_writable(machine.runs)
    tasks = load_with_progress(preset, machine, console)
    jobs = make_jobs(preset, rows, tasks, machine.source)
    if not options.dry_run:
        for job in jobs:
            store = RunStore(machine.runs, job.hash)
            if options.force and store.directory.exists():
                set_aside(store, "run again by --force", console)
            elif store.exists():
                try:
                    store.read()
                except StoreError as error:
                    set_aside(store, str(error), console)
    planned = plan(jobs, machine, tasks, use_published=not options.force)
    todo = [item for item in planned if not item.complete]
    if options.dry_run:
        show_plan(planned, preset, machine, tasks, console)
        return 0
    for item in planned:
        # Complete runs are demanded too: the preset may know them by another label, or for the first time.
        if item.complete:
            learned = tasks_of(item.job, tasks, machine)
            demand(item.job, machine, learned, published=item.published)
            if not item.published:
                # Nothing else of a complete run is needed to repair these.
                store = RunStore(machine.runs, item.job.hash)
                store.write_tasks(task_rows(learned))
                store.clear_failures()
    transfers = [] if todo else plan_transfers(jobs, machine, tasks)
    if not todo and not transfers:
        write_verdicts(machine.runs, machine.published, preset.name)
        text = f"Nothing to do: {counted(len(planned), 'run')} of preset {preset.name}, all complete, in {machine.runs}"
        console.print(text, highlight=False, markup=False)
        return 0
    failures = []
    if todo:
        console.print(
            f"Preset {preset.name}: {len(todo)} of {len(planned)} runs to do on {machine.device} "
            f"({counted(machine.workers, 'worker')} with {counted(machine.threads, 'thread')})",
            highlight=False,
            markup=False,
        )
        failures = _done(todo, machine, tasks, console)
        transfers = plan_transfers(jobs, machine, tasks)
    if transfers:
        console.print(f"transfers to {counted(len(transfers), 'run')}", highlight=False, markup=False)
        failures += _done(transfers, machine, tasks, console)
    write_verdicts(machine.runs, machine.published, preset.name)
    for failure in failures:
        console.print(f"failed: {failure}", style="red", highlight=False, markup=False)
    console.print("stored; `python run_benchmark.py report` shows it", highlight=False, markup=False)
    return 1 if failures else 0


def _done(planned: Sequence[Planned], machine: Machine, tasks: list[Task], console: Console) -> list[str]:
    """Do the planned jobs; return what failed, one line each."""
    with Display(planned, machine.workers, console) as display:
        outcomes = run_jobs([item.job for item in planned], machine, tasks, display)
    return [failure for outcome in outcomes for failure in outcome.failures]


def set_aside(store: RunStore, reason: str, console: Console) -> None:
    """Move a run's directory out of the way, never delete it. Raises StoreError if a process is working on it."""
    target = store.directory.parent / ".set-aside" / f"{store.directory.name}-{now().replace(':', '')}"
    store.move_away(target)
    console.print(f"set aside {target}: {reason}", style="yellow", highlight=False, markup=False)


def show_plan(
    planned: Sequence[Planned], preset: Preset, machine: Machine, tasks: Sequence[Task], console: Console
) -> None:
    """What would be done: cells, hours, gigabytes; nothing is started and nothing written."""
    per_pass = seconds_per_pass(
        [item.job for item in planned], preset.scenario(machine.source), machine.device, machine.threads
    )
    table = Table(title=f"preset {preset.name}", title_justify="left")
    for column in ("run", "seed", "state", "tasks to learn", "cells to attack", "hours"):
        table.add_column(column, justify="left" if column in ("run", "state") else "right")
    for item in planned:
        hours = item.passes * per_pass / 3600
        table.add_row(item.job.label, str(item.job.seed), item.state, str(item.turns), str(item.cells), f"{hours:.2f}")
    console.print(table)
    todo = [item for item in planned if not item.complete]
    cells = sum(item.cells for item in todo)
    seconds = sum(item.passes for item in todo) * per_pass / min(machine.workers, max(1, len(todo)))
    data = sum(part.images.numel() for task in tasks for part in (task.train, task.validation, task.test)) / 1e9
    console.print(
        f"{len(todo)} of {len(planned)} runs, {cells} cells: about {seconds / 3600:.2f} hours ({duration(seconds)}) on "
        f"{machine.device} with {counted(machine.workers, 'worker')}, from {per_pass * 1e6:.1f} µs per image and pass timed just "
        f"now; {data:.2f} GB of images per worker in memory, at most "
        f"{checkpoint_gigabytes(planned, preset.scenario(machine.source)):.2f} GB of checkpoints on disk",
        highlight=False,
        markup=False,
    )
    if preset.transfers:
        count = counted(len(preset.transfers), "transfer")
        console.print(f"then {count} per task, where the sources are stored", highlight=False, markup=False)
