"""`verify`: is what a run holds what it is said to be? In seconds, without running an attack and without writing anything."""

from __future__ import annotations

from pathlib import Path

import torch
from rich.console import Console

from benchmark.errors import ConfigError
from benchmark.run_command import RunOptions
from benchmark.verification.evaluations import check_evaluations
from benchmark.verification.facts import check_facts
from benchmark.verification.findings import Group
from benchmark.verification.images import check_images
from benchmark.verification.origins import check_identity, check_tasks, origin_of
from benchmark.verification.predictions import check_predictions
from benchmark.verification.records import read_records
from benchmark.verification.verdicts import check_verdicts
from benchmark.verification.weights import NONE, check_checkpoints, check_classifiers
from results.files import StoreError
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
        from benchmark.submission import submit

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


def show(group: Group, console: Console) -> None:
    """One line for the group, and one for each thing in it that does not hold."""
    state = [f"{group.checked}: {'does not hold' if group.problems else 'ok'}"] if group.checked else []
    state += [f"not checked: {group.left_out}"] if group.left_out else []
    console.print(f"  {group.what}: {'; '.join(state)}", highlight=False, markup=False)
    for problem in group.problems:
        console.print(f"    - {problem}", highlight=False, markup=False, style="red")


def check(run: Run, results: Results, options: RunOptions, console: Console) -> list[Group]:
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
        groups.append(Group("classifiers", "", (), origin.why if here else NONE))
    else:
        groups.append(check_classifiers(records, origin.job, origin.machine, origin.tasks))
    groups.append(check_images(records, origin.job, origin.machine, origin.tasks, origin.why))
    return [*groups, *check_verdicts(run, options.results, options.published)]


def find(name: str, results: Results, runs: Path) -> Run:
    """The one stored run whose hash or directory begins with `name`, or that has this label; local ones come first.

    Raises ConfigError, and StoreError where its configuration cannot be read.
    """
    for problem in results.unreadable:
        if name and problem.path.name.startswith(name):
            raise StoreError(str(problem))
    found = [run for run in results.runs if run.hash.startswith(name) or run.directory.name.startswith(name)]
    found = found or [run for run in results.runs if run.label == name]
    found = [run for run in found if not run.published] or found
    if len(found) != 1:
        local = [run for run in results.runs if not run.published]
        known = ", ".join(f"{run.hash[:8]} ({run.label} seed {run.seed})" for run in found or local) or "none"
        raise ConfigError(f"run {name!r}: {'more than one' if found else 'no such run'} in {runs}; there is: {known}")
    return found[0]
