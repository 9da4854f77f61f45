"""`verify`: are the stored adversarial images of a run what they are said to be? In seconds, without running an attack."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmark.adversarial import Rechecked, recheck
from benchmark.errors import ConfigError
from benchmark.jobs import Job, Machine, make_jobs
from benchmark.presets import load_preset
from benchmark.run_command import RunOptions, load_with_progress, make_machine
from benchmark.stored_runs import Classifiers
from methods.base import MethodError
from results.adversarial import FOLDER, read_images
from results.files import StoreError
from results.records import Run, load
from scenarios.base import Task


def verify(name: str, options: RunOptions, console: Console) -> int:
    """Check every stored adversarial image of a run against the classifier it is said to break.

    name: the beginning of the run's hash, or its label where only one run has it. Returns 0, or 1 if something does not hold.
    Raises ConfigError, StoreError and DataError.
    """
    run = find(name, options.results)
    files = sorted((run.directory / FOLDER).glob("*.safetensors"))
    if not files:
        raise ConfigError(
            f"{run.label}: holds no adversarial images; store them with `run ... --set evaluation.keep_images=true`"
        )
    job, machine, tasks = job_of(run, options, console)
    torch.set_num_threads(machine.threads)
    classifiers = Classifiers(machine)
    table = Table("attack", "after task", "task", "images", "in 8 bits", "what does not hold")
    problems = 0
    for path in files:
        try:
            found, turn = _check(path, job, classifiers, tasks)
        except (StoreError, MethodError) as error:
            problems += 1
            table.add_row(path.name[:16], "", "", "", "", str(error))
            continue
        problems += len(found.problems)
        told = "; ".join(found.problems)
        table.add_row(found.attack, str(turn), str(found.task), str(found.images), str(found.in_bytes), told)
    console.print(table)
    verdict = "everything holds" if not problems else f"{problems} things do not hold"
    console.print(f"{run.label} seed {run.seed}: {len(files)} sets of images, {verdict}", highlight=False, markup=False)
    return 1 if problems else 0


def _check(path: Path, job: Job, classifiers: Classifiers, tasks: Sequence[Task]) -> tuple[Rechecked, int]:
    _, notes = read_images(path)
    try:
        task, turn = tasks[int(notes["task"])], int(notes["after_task"])
    except (KeyError, ValueError, IndexError):
        raise StoreError(f"{path}: does not say what task it is of") from None
    return recheck(path, classifiers.of(job, turn, task.id), task), turn


def find(name: str, results: Path) -> Run:
    """The one stored run whose hash begins with `name`, or that has this label. Raises ConfigError."""
    runs = load(results, None).runs
    found = [run for run in runs if run.hash.startswith(name)] or [run for run in runs if run.label == name]
    if len(found) != 1:
        known = ", ".join(f"{run.hash[:8]} ({run.label} seed {run.seed})" for run in found or runs) or "none"
        raise ConfigError(
            f"run {name!r}: {'more than one' if found else 'no such run'} in {results}; there is: {known}"
        )
    return found[0]


def job_of(run: Run, options: RunOptions, console: Console) -> tuple[Job, Machine, list[Task]]:
    """What made a run, from the presets that demanded it. Raises ConfigError if none of them can be had."""
    for name in run.protocols:
        file, *overrides = shlex.split(name)
        try:
            preset = load_preset(options.preset or file, overrides, seeds=[run.seed])
        except ConfigError:
            continue
        machine = make_machine(options, preset)
        tasks = load_with_progress(preset, machine, console)
        for job in make_jobs(preset, preset.rows, tasks, machine.source):
            if job.hash == run.hash:
                return job, machine, tasks
    demanded = ", ".join(run.protocols)
    raise ConfigError(
        f"{run.label}: no preset here makes this run (it was demanded by {demanded}); name its file with --preset"
    )
