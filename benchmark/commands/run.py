"""`run`: from a preset to stored results."""

from __future__ import annotations

import argparse
import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from benchmark.commands.parsing import choices
from benchmark.commands.parsing import options as common
from benchmark.commands.parsing.until import moment_of
from benchmark.planning.options import ENGINES, RETRIES, RUNS
from benchmark.running.progress.curve_target import PACKAGES, CurveTarget, curve_target

if TYPE_CHECKING:
    from rich.console import Console

    from benchmark.learning.events import Event, Listener
    from benchmark.planning.options import RunOptions
    from benchmark.planning.plan import Planned
    from benchmark.running.engines.schedule import Until
    from benchmark.running.preset_run import PresetRun

APART = True
"""The command's own process executes no run: one that is killed takes nobody along."""

SHOWN_LEFT = 5
"""Runs that are named at the end of the time."""


def add_parser(commands: common.Commands) -> None:
    parser = common.add_command(
        commands,
        "run",
        execute,
        summary="train, attack and store what a preset demands and is not there yet",
        description=(
            "Train, attack and store what a preset demands and is not there yet. The same command goes on where it was stopped.\n"
            "Exit codes: 0 done, or time was up; 1 something failed (the rest is stored); 2 the command is wrong;\n"
            "130 stopped by Ctrl-C, 143 by SIGTERM."
        ),
        examples={
            "run --preset digits": "the whole preset, a few minutes on two cores",
            "run --preset cifar100-cpu --dry-run": "its cells, hours and gigabytes; nothing is started",
            "run --preset cifar100 --until 23:15": "on a machine that is lent until then; the rest is for the next time",
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
    parser.add_argument("--engine", default="local", choices=ENGINES, help="where runs are executed (default: local)")
    parser.add_argument(
        "--address", metavar="HOST:PORT|auto", help="the Ray cluster (default: one of this machine alone)"
    )
    parser.add_argument(
        "--gpus-per-run",
        type=float,
        metavar="N",
        help="GPUs of a Ray node for each run, such as 0.5 (default: 1 if the cluster has any)",
    )
    common.add_workers(parser)
    parser.add_argument(
        "--retries",
        type=int,
        default=RETRIES,
        metavar="N",
        help=f"tries more for a run whose process died (default: {RETRIES})",
    )
    parser.add_argument(
        "--until",
        type=moment_of,
        metavar="TIME",
        help="13m, 1h30m or 23:15: begin nothing that would not end by then, and stop with everything stored; with --dry-run: "
        "which runs fit",
    )
    action = parser.add_argument(
        "--log",
        action="append",
        default=[],
        type=curve_target,
        metavar="TOOL[=DIR]",
        help=f"draw loss and robust validation accuracy of every epoch with {' or '.join(PACKAGES)}; may be repeated",
    )
    choices.completed(action, choices.curves)
    parser.add_argument("--dry-run", action="store_true", help="show cells, hours and gigabytes; start nothing")
    parser.add_argument("--force", action="store_true", help="run the chosen rows again; the old runs are set aside")
    parser.add_argument(
        "--learn-here",
        action="store_true",
        help="learn in the process that attacks, for a debugger; nothing is watched",
    )


def execute(options: argparse.Namespace, console: Console) -> int:
    return run(replace(common.run_options(options), apart=APART), console, strict=options.strict, log=options.log)


def run(options: RunOptions, console: Console, *, strict: bool = False, log: Sequence[CurveTarget] = ()) -> int:
    """Run a preset and print what happens.

    strict: True if a failed check of a row that was asked for counts as a failure.
    log: the tools that draw curves.
    Returns the exit code: 0, or 1 if something failed. Raises ConfigError, DataError, StoreError and MethodError.
    """
    from benchmark.planning.tasks import load_with_progress
    from benchmark.running.preset_run import failed_checks, prepare

    def say(text: str, style: str | None = None) -> None:
        console.print(text, style=style, highlight=False, markup=False)

    work = prepare(options, lambda preset, machine: load_with_progress(preset, machine, console))
    if options.dry_run:
        show_plan(work, work.plan(), console, options.until)
        return 0
    for moved in work.set_aside():
        say(f"set aside {moved}", "yellow")
    planned = work.plan()
    for item in (item for item in planned if item.complete):
        for problem in item.unusable:
            reason = "a published record" if item.published else "no checkpoint is here; --force learns the run anew"
            say(f"not made again: {problem} ({reason})", "yellow")
    until = end_of_work(options.until, work, planned)
    ended = work.complete(planned, lambda jobs: _shown(jobs, planned, work, console, log), until)
    failures = list(ended.failures)
    if strict:
        failures += failed_checks(ended.verdicts)
    for failure in failures:
        say(f"failed: {failure}", "red")
    if ended.left:
        say(f"time is up; {_left(work, ended.left)}; the same command goes on", "yellow")
    if ended.executed:
        where = "" if options.results == RUNS else f" --results {shlex.quote(str(options.results))}"
        say(f"stored; `python run_benchmark.py report{where}` shows it")
    else:
        say(f"Nothing to do: {_complete(planned, work)}")
    return 1 if failures else 0


def _complete(planned: Sequence[Planned], work: PresetRun) -> str:
    """The places of complete runs, in words. A published one has no checkpoints, so it is told how to make it here."""
    from reports.numbers.wording import counted

    published = sum(item.published for item in planned)
    places = [str(work.machine.runs)] if published < len(planned) else []
    if published:
        places.append(f"{work.machine.published} ({published:,} published; --force makes them here too)")
    return f"{counted(len(planned), 'run')} of preset {work.preset.name}, all complete, in {' and '.join(places)}"


def end_of_work(moment: float | None, work: PresetRun, planned: Sequence[Planned]) -> Until | None:
    """The end of the time for work, at the rates that this machine shows now.

    moment: of `time.monotonic`, from which on nothing may be worked on; None for as long as it takes.
    """
    import torch

    from benchmark.commands.timing.rates import measure_rates
    from benchmark.running.engines.schedule import ENDING_SECONDS, Until
    from benchmark.running.gpu import return_memory

    if moment is None:
        return None
    scenario = work.preset.scenario(work.machine.source)
    rates = measure_rates([item.job for item in planned], scenario, work.machine)
    # The runs have processes of their own, which count the memory that is left.
    return_memory(torch.device(work.machine.device))
    return Until(moment - ENDING_SECONDS, rates)


def _left(work: PresetRun, runs: Sequence[str]) -> str:
    """The work that is left of runs, by their hashes, in words."""
    from reports.numbers.wording import counted

    planned = [*(item for item in work.plan() if not item.complete), *work.plan_transfers()]
    left = [item for item in planned if item.job.hash in runs]
    turns, cells = sum(item.turns for item in left), sum(item.cells for item in left)
    names = list(dict.fromkeys(str(item.job) for item in left))
    more = f" and {len(names) - SHOWN_LEFT} more" if len(names) > SHOWN_LEFT else ""
    return (
        f"{counted(turns, 'task')} to learn and {counted(cells, 'cell')} to attack are left of "
        f"{counted(len(names), 'run')}: {', '.join(names[:SHOWN_LEFT])}{more}"
    )


@contextmanager
def _shown(
    jobs: Sequence[Planned], planned: Sequence[Planned], work: PresetRun, console: Console, log: Sequence[CurveTarget]
) -> Iterator[Listener]:
    """Announce jobs, show how far they are, and draw their curves. planned: all runs of the preset, complete ones included."""
    from benchmark.running.progress.curves import drawn
    from benchmark.running.progress.display import Display
    from reports.numbers.wording import counted

    machine = work.machine
    workers = counted(machine.workers, "worker")
    if jobs[0].job.sources:
        text = f"transfers to {counted(len(jobs), 'run')}"
    else:
        text = f"Preset {work.preset.name}: {len(jobs)} of {len(planned)} runs to do on " + (
            str(machine.ray)
            if machine.ray
            else f"{machine.device} ({workers} with {counted(machine.threads, 'thread')})"
        )
    console.print(text, highlight=False, markup=False)

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False)

    # Transfers learn nothing.
    tools = () if jobs[0].job.sources else log
    with (
        drawn(tools, machine.runs, work.preset.name, jobs, say) as curves,
        Display(jobs, machine.workers, console) as display,
    ):

        def listen(event: Event) -> None:
            display(event)
            curves(event)

        yield listen


def show_plan(work: PresetRun, planned: Sequence[Planned], console: Console, until: float | None = None) -> None:
    """Print what would be done: cells, time and gigabytes. Nothing is started and nothing written.

    until: the moment of `time.monotonic` at which work would stop; None without one.
    """
    from rich.table import Table

    from benchmark.commands.timing.rates import measure_rates, measure_step_memory
    from benchmark.planning.plan import checkpoint_gigabytes
    from benchmark.running.engines.forecast import ends
    from benchmark.running.engines.schedule import ENDING_SECONDS
    from benchmark.running.progress.duration import duration
    from reports.numbers.wording import counted

    there = None if until is None else until - ENDING_SECONDS - time.monotonic()
    preset, machine = work.preset, work.machine
    scenario = preset.scenario(machine.source)
    rates = measure_rates([item.job for item in planned], scenario, machine)
    table = Table(title=f"preset {preset.name}", title_justify="left")
    for column in ("run", "seed", "state", "tasks to learn", "cells to attack", "time", *(["fits"] if until else [])):
        table.add_column(column, justify="left" if column in ("run", "state", "fits") else "right")
    todo = [item for item in planned if not item.complete]
    each = {item.job.hash: rates.seconds(item.cost) for item in planned}
    end = ends(todo, each, machine.workers)
    for item in planned:
        row = [item.job.label, str(item.job.seed), item.state, str(item.turns), str(item.cells)]
        took = each[item.job.hash]
        fits = [] if there is None else [_fits(end.get(item.job.hash, 0.0), took, there)]
        table.add_row(*row, duration(took), *fits)
    console.print(table)
    cells, seconds = sum(item.cells for item in todo), max(end.values(), default=0.0)
    data = sum(part.images.numel() for task in work.tasks for part in (task.train, task.validation, task.test)) / 1e9
    console.print(
        f"{len(todo)} of {len(planned)} runs, {cells} cells: about {seconds / 3600:.2f} hours ({duration(seconds)}) on "
        f"{machine.device} with {counted(machine.workers, 'worker')}, timed just now: {rates}; "
        f"{data:.2f} GB of images per worker in memory, at most {checkpoint_gigabytes(planned, scenario):.2f} GB of "
        "checkpoints on disk",
        highlight=False,
        markup=False,
    )
    if there is not None:
        fitting = sum(seconds <= there for seconds in end.values())
        console.print(
            f"{fitting} of {len(todo)} runs fit into {duration(max(0.0, there))}", highlight=False, markup=False
        )
    console.print(
        str(measure_step_memory([item.job for item in planned], scenario, machine)), highlight=False, markup=False
    )
    if preset.transfers:
        count = counted(len(preset.transfers), "transfer")
        console.print(f"then {count} per task, where the sources are stored", highlight=False, markup=False)


def _fits(end: float, seconds: float, there: float) -> str:
    """A word on a run that would end after `end` seconds and take some of them, of those that there are."""
    return "yes" if end <= there else "in part" if end - seconds < there else "no"
