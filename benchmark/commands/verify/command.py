"""`verify`: is what a run holds what it is said to be? In seconds, without running an attack and without writing anything."""

from __future__ import annotations

from pathlib import Path

import torch
from rich.console import Console

from benchmark.commands.verify.evaluations import check_evaluations
from benchmark.commands.verify.facts import check_facts
from benchmark.commands.verify.findings import Finding
from benchmark.commands.verify.images import check_images
from benchmark.commands.verify.origins import check_identity, check_tasks, origin_of
from benchmark.commands.verify.predictions import check_predictions
from benchmark.commands.verify.records import read_records
from benchmark.commands.verify.verdicts import check_verdicts
from benchmark.commands.verify.weights import NONE, check_checkpoints, check_classifiers
from benchmark.planning.options import RunOptions
from benchmark.planning.stored_runs import find
from results.records import Results, Run, load


def verify(name: str, options: RunOptions, console: Console, submission: tuple[Path, str] | None = None) -> int:
    """Check everything that a run holds and print one line per group of checks, and below it what does not hold.

    name: the beginning of the run's hash, or its label where only one run has it. submission: a file of adversarial images and
    the task that it is of, to be scored and kept instead. Returns 0, or 1 if something does not hold.
    Raises ConfigError, StoreError and MethodError.
    """
    results = load(options.results, options.published)
    run = find(name, results, options.results)
    if submission is not None:
        from benchmark.commands.verify.submit.scoring import submit

        return submit(run, *submission, options, console)
    groups = check(run, results, options, console)
    where = "published record" if run.published else str(run.directory)
    console.print(f"{run.label} seed {run.seed} ({where})", highlight=False, markup=False)
    for group in groups:
        show(group, console)
    wrong = sum(len(group.problems) for group in groups)
    left_out = sum(bool(group.left_out) for group in groups)
    verdict = "everything that was checked holds" if left_out else "everything holds"
    found = f"FAIL: {wrong} {'thing does' if wrong == 1 else 'things do'} not hold" if wrong else verdict
    console.print(found, highlight=False, markup=False, style="red" if wrong else "green")
    return 1 if wrong else 0


def show(group: Finding, console: Console) -> None:
    """One line for the group, and one for each thing in it that does not hold."""
    state = [f"{group.checked}: {'does not hold' if group.problems else 'ok'}"] if group.checked else []
    state += [f"not checked: {group.left_out}"] if group.left_out else []
    console.print(f"  {group.what}: {'; '.join(state)}", highlight=False, markup=False)
    for problem in group.problems:
        console.print(f"    - {problem}", highlight=False, markup=False, style="red")


def check(run: Run, results: Results, options: RunOptions, console: Console) -> list[Finding]:
    """All groups of checks of one run."""
    records, files = read_records(run)
    origin = origin_of(run, options, console)
    if origin.machine is not None:
        torch.set_num_threads(origin.machine.threads)
    turns = sorted({int(turn) for turn in records.evaluations["after_task"]})
    groups = [
        check_identity(run, results),
        origin.presets,
        check_tasks(run, records.tasks, origin.tasks, origin.why),
        files,
        check_evaluations(records),
        check_predictions(records, origin.tasks),
        check_facts(records, turns),
        check_checkpoints(run, origin.job, turns),
    ]
    if origin.job is None or origin.machine is None or origin.tasks is None:
        here = (run.directory / "checkpoints").is_dir()
        groups.append(Finding("classifiers", "", (), origin.why if here else NONE))
    else:
        groups.append(check_classifiers(records, origin.job, origin.machine, origin.tasks))
    groups.append(check_images(records, origin.job, origin.machine, origin.tasks, origin.why))
    return [*groups, *check_verdicts(run, options.results, options.published)]
