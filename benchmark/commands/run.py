"""`run`: from a preset to stored results."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from benchmark.commands.parsing import options as common
from benchmark.planning.options import RUNS

if TYPE_CHECKING:
    from rich.console import Console

    from benchmark.learning.events import Listener
    from benchmark.planning.options import RunOptions
    from benchmark.planning.plan import Planned
    from benchmark.running.preset_run import PresetRun


def add_parser(commands: common.Commands) -> None:
    parser = common.add_command(
        commands,
        "run",
        execute,
        summary="train, attack and store what a preset demands and is not there yet",
        description=(
            "Train, attack and store what a preset demands and is not there yet. The same command goes on where it was stopped.\n"
            "Exit codes: 0 done, 1 something failed (the rest is stored), 2 the command is wrong, 130 stopped."
        ),
        examples={
            "run --preset digits": "the whole preset, a few minutes on two cores",
            "run --preset cifar100-cpu --dry-run": "its cells, hours and gigabytes; nothing is started",
            "run --preset digits --methods my_method.py cmat --seeds 0 1 2": "a method of your own beside CMAT, three seeds each",
            "run --preset digits --set recipe.epochs=5 eps=0.1": "other values; their results are a board of their own",
        },
    )
    common.add_preset(parser, "a built-in preset or a YAML file")
    common.add_methods(parser, "labels, methods or files of methods (default: all rows of the preset)")
    common.add_seeds(parser)
    common.add_overrides(parser)
    parser.add_argument(
        "--pretrain", metavar="SCENARIO", help="what pretrained_at starts from: a name, or {name: ..., tasks: ...}"
    )
    parser.add_argument(
        "--checks",
        choices=["none", "final", "deep"],
        help="extra attacks for the verdicts alone: none, on a part of the images, or a black box too (default: the preset's)",
    )
    common.add_strict(parser)
    common.add_results(parser)
    common.add_data(parser)
    common.add_device(parser)
    parser.add_argument("--engine", default="local", choices=["local"], help="where runs are executed (default: local)")
    common.add_workers(parser)
    parser.add_argument("--dry-run", action="store_true", help="show cells, hours and gigabytes; start nothing")
    parser.add_argument("--force", action="store_true", help="run again what is there; the old runs are set aside")
    parser.add_argument(
        "--learn-here",
        action="store_true",
        help="learn in the process that attacks, for a debugger; nothing is watched",
    )


def execute(options: argparse.Namespace, console: Console) -> int:
    return run(common.run_options(options), console, strict=options.strict)


def run(options: RunOptions, console: Console, *, strict: bool = False) -> int:
    """Run a preset and print what happens.

    strict: True if a failed check of a row that was asked for counts as a failure.
    Returns the exit code: 0, or 1 if something failed. Raises ConfigError, DataError, StoreError and MethodError.
    """
    from benchmark.planning.tasks import load_with_progress
    from benchmark.running.preset_run import failed_checks, prepare
    from reports.numbers.wording import counted

    def say(text: str, style: str | None = None) -> None:
        console.print(text, style=style, highlight=False, markup=False)

    work = prepare(options, lambda preset, machine: load_with_progress(preset, machine, console))
    if options.dry_run:
        show_plan(work, work.plan(), console)
        return 0
    for moved in work.set_aside():
        say(f"set aside {moved}", "yellow")
    planned = work.plan()
    for item in (item for item in planned if item.complete):
        for problem in item.unusable:
            reason = "a published record" if item.published else "no checkpoint is here; --force learns the run anew"
            say(f"not made again: {problem} ({reason})", "yellow")
    ended = work.complete(planned, lambda jobs: _shown(jobs, planned, work, console))
    failures = list(ended.failures)
    if strict:
        failures += failed_checks(ended.verdicts)
    for failure in failures:
        say(f"failed: {failure}", "red")
    if ended.executed:
        where = "" if options.results == RUNS else f" --results {shlex.quote(str(options.results))}"
        say(f"stored; `python run_benchmark.py report{where}` shows it")
    else:
        runs = counted(len(planned), "run")
        say(f"Nothing to do: {runs} of preset {work.preset.name}, all complete, in {work.machine.runs}")
    return 1 if failures else 0


@contextmanager
def _shown(
    jobs: Sequence[Planned], planned: Sequence[Planned], work: PresetRun, console: Console
) -> Iterator[Listener]:
    """Announce jobs and show how far they are. planned: all runs of the preset, complete ones included."""
    from benchmark.running.progress.display import Display
    from reports.numbers.wording import counted

    machine = work.machine
    if jobs[0].job.sources:
        text = f"transfers to {counted(len(jobs), 'run')}"
    else:
        text = (
            f"Preset {work.preset.name}: {len(jobs)} of {len(planned)} runs to do on {machine.device} "
            f"({counted(machine.workers, 'worker')} with {counted(machine.threads, 'thread')})"
        )
    console.print(text, highlight=False, markup=False)
    with Display(jobs, machine.workers, console) as display:
        yield display


def show_plan(work: PresetRun, planned: Sequence[Planned], console: Console) -> None:
    """Print what would be done: cells, time and gigabytes. Nothing is started and nothing written."""
    from rich.table import Table

    from benchmark.commands.timing.rates import measure_rates, measure_step_memory
    from benchmark.planning.plan import checkpoint_gigabytes
    from benchmark.running.progress.duration import duration
    from reports.numbers.wording import counted

    preset, machine = work.preset, work.machine
    scenario = preset.scenario(machine.source)
    rates = measure_rates([item.job for item in planned], scenario, machine)
    table = Table(title=f"preset {preset.name}", title_justify="left")
    for column in ("run", "seed", "state", "tasks to learn", "cells to attack", "time"):
        table.add_column(column, justify="left" if column in ("run", "state") else "right")
    for item in planned:
        time = duration(rates.seconds(item.cost))
        table.add_row(item.job.label, str(item.job.seed), item.state, str(item.turns), str(item.cells), time)
    console.print(table)
    todo = [item for item in planned if not item.complete]
    cells = sum(item.cells for item in todo)
    # A run is one worker's: the longest one takes its time, however many others there are.
    each = [rates.seconds(item.cost) for item in todo]
    seconds = max(sum(each) / machine.workers, max(each, default=0.0))
    data = sum(part.images.numel() for task in work.tasks for part in (task.train, task.validation, task.test)) / 1e9
    console.print(
        f"{len(todo)} of {len(planned)} runs, {cells} cells: about {seconds / 3600:.2f} hours ({duration(seconds)}) on "
        f"{machine.device} with {counted(machine.workers, 'worker')}, timed just now: {rates}; "
        f"{data:.2f} GB of images per worker in memory, at most {checkpoint_gigabytes(planned, scenario):.2f} GB of "
        "checkpoints on disk",
        highlight=False,
        markup=False,
    )
    console.print(
        str(measure_step_memory([item.job for item in planned], scenario, machine)), highlight=False, markup=False
    )
    if preset.transfers:
        count = counted(len(preset.transfers), "transfer")
        console.print(f"then {count} per task, where the sources are stored", highlight=False, markup=False)
