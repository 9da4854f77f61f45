"""The `verify` command: reads a stored run and says what in it does not hold. It runs no attack and writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console

from benchmark.commands.verify.checkpoints import verify_checkpoints
from benchmark.commands.verify.classifiers import verify_classifiers
from benchmark.commands.verify.findings import Finding
from benchmark.commands.verify.identity import verify_identity
from benchmark.commands.verify.images import verify_images
from benchmark.commands.verify.presets import Origin, origin_of
from benchmark.commands.verify.records.evaluations import verify_evaluations
from benchmark.commands.verify.records.facts import verify_facts
from benchmark.commands.verify.records.files import read_records
from benchmark.commands.verify.records.predictions import verify_predictions
from benchmark.commands.verify.tasks import verify_tasks
from benchmark.commands.verify.verdicts import verify_verdicts
from benchmark.planning.options import RunOptions
from benchmark.planning.stored_runs import find_stored_run
from results.records import Results, Run, load


def verify(name: str, options: RunOptions, console: Console, submission: tuple[Path, str] | None = None) -> int:
    """Verify a stored run and print its findings, each problem on a line of its own.

    name: the beginning of the run's hash, or its label if only one run has it, or one of the preset that the options name.
    submission: a file of adversarial images and the task they are of. They are scored and kept; the run is not verified.
    Returns 0, or 1 if something does not hold. Raises ConfigError, StoreError and MethodError.
    """
    results = load(options.results, options.published, edited=submission is None)
    run = find_stored_run(name, results, options.results, options.preset)
    if submission is not None:
        from benchmark.commands.verify.submit.scoring import submit

        return submit(run, *submission, options, console)
    findings = findings_of(run, results, options, console)
    where = "published record" if run.published else str(run.directory)
    console.print(f"{run.label} seed {run.seed} ({where})", highlight=False, markup=False)
    for finding in findings:
        show(finding, console)
    problems = sum(len(finding.problems) for finding in findings)
    console.print(_summary(findings), highlight=False, markup=False, style="red" if problems else "green")
    return 1 if problems else 0


def _summary(findings: Sequence[Finding]) -> str:
    problems = sum(len(finding.problems) for finding in findings)
    if problems:
        return f"FAIL: {problems} {'thing does' if problems == 1 else 'things do'} not hold"
    left_out = any(finding.left_out for finding in findings)
    return "everything that was verified holds" if left_out else "everything holds"


def show(finding: Finding, console: Console) -> None:
    """Print a finding on one line, and each of its problems on one below it."""
    states = []
    if finding.verified:
        states.append(f"{finding.verified}: {'does not hold' if finding.problems else 'ok'}")
    if finding.left_out:
        states.append(f"not verified: {finding.left_out}")
    console.print(f"  {finding.part}: {'; '.join(states)}", highlight=False, markup=False)
    for problem in finding.problems:
        console.print(f"    - {problem}", highlight=False, markup=False, style="red")


def findings_of(run: Run, results: Results, options: RunOptions, console: Console) -> list[Finding]:
    """Verify every part of a run. results: all stored runs, `run` among them."""
    origin = origin_of(run, options, console)
    if origin.made is not None:
        torch.set_num_threads(origin.made.machine.threads)
    return [*findings_in(run, results, origin), *verify_verdicts(run, options.results, options.published)]


def findings_in(run: Run, results: Results, origin: Origin) -> list[Finding]:
    """Verify the files of a run, as far as its origin is known. results: stored runs, `run` among them."""
    records, files = read_records(run)
    turns = sorted({int(turn) for turn in records.evaluations["after_task"]})
    return [
        verify_identity(run, results),
        origin.presets,
        verify_tasks(run, records.tasks, origin.tasks, origin.lacking),
        files,
        verify_evaluations(records),
        verify_predictions(records, origin.tasks),
        verify_facts(records, turns),
        verify_checkpoints(run, origin.made, turns),
        verify_classifiers(records, origin),
        verify_images(records, origin),
    ]
