"""`run`: from a preset to stored results."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmark.engine import run_jobs
from benchmark.errors import ConfigError
from benchmark.jobs import Machine, make_jobs, tasks_of
from benchmark.plan import Planned, checkpoint_gigabytes, plan, seconds_per_pass
from benchmark.presets import Preset, load_preset
from benchmark.progress import Display, duration
from benchmark.stored_runs import demand, task_rows
from benchmark.transfers import plan_transfers
from benchmark.verdict_files import write_verdicts
from reports.wording import counted
from results.files import StoreError
from results.store import RunStore, now
from scenarios.base import SourceOptions, Task

ROOT = Path(__file__).resolve().parents[1]
RUNS = ROOT / "results" / "runs"
PUBLISHED = ROOT / "results" / "published"


@dataclass(frozen=True)
class RunOptions:
    """The options of the `run` command, as given."""

    preset: str
    methods: Sequence[str] | None = None
    seeds: Sequence[int] | None = None
    overrides: Sequence[str] = ()
    results: Path = RUNS
    published: Path = PUBLISHED
    pretrain: str | None = None
    checks: str | None = None
    data_root: Path | None = None
    download: bool = False
    device: str = "auto"
    workers: int | None = None
    dry_run: bool = False
    force: bool = False
    command: str = ""


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


def make_machine(options: RunOptions, preset: Preset) -> Machine:
    """Where to run: the device that is there, and workers so that all cores are busy. Raises ConfigError."""
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"--device {device}: no CUDA GPU is there (torch {torch.__version__}); use --device cpu")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = min(preset.file.threads or cores, cores)
    workers = options.workers
    if workers is not None and workers > cores:
        raise ConfigError(f"--workers {workers}: this machine has {counted(cores, 'core')}; use 1..{cores}")
    if workers is None:
        workers = 1 if device.startswith("cuda") else max(1, cores // threads)
    elif preset.file.threads is None:
        threads = max(1, cores // workers)
    # A dry run starts nothing, a download neither.
    source = SourceOptions(options.data_root, options.download and not options.dry_run)
    return Machine(options.results, options.published, source, device, workers, threads, options.command)


def check_writable(folder: Path) -> None:
    """Raise ConfigError unless results can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(f"--results {folder}: cannot be written ({error.strerror}); choose another folder") from None


def load_with_progress(preset: Preset, machine: Machine, console: Console) -> list[Task]:
    """The preset's tasks; a progress bar appears where images have to be decoded first."""
    from rich.progress import Progress, TaskID

    scenario = preset.scenario(machine.source)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        bars: dict[str, TaskID] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in bars:
                bars[what] = progress.add_task(what, total=total)
            progress.update(bars[what], completed=done, total=total)

        return scenario.load(machine.device, report)


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
