"""`audit`: what each protocol shortcut of the thesis is worth, one switch at a time and all together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmark.commands.audit.cells import AuditCell, Measurements
from benchmark.commands.audit.findings import Findings
from benchmark.commands.audit.learning import is_learned, learn, still_to_learn
from benchmark.commands.audit.measuring import measure_all
from benchmark.commands.audit.protocol import TABLES, chosen
from benchmark.commands.audit.variants import METHODS, Variant, all_jobs, make_variants, undefended
from benchmark.errors import ConfigError
from benchmark.planning.jobs import Job
from benchmark.planning.machine import Machine, check_writable, make_machine
from benchmark.planning.options import RunOptions
from benchmark.planning.plan import Planned, seconds_per_pass
from benchmark.planning.presets import Preset, load_preset
from benchmark.planning.tasks import load_with_progress
from benchmark.running.progress import duration
from reports.audit.audited_row import CANONICAL
from reports.audit.files import show, write

DEFAULT_METHODS = ("madry_at", "packnet")


@dataclass(frozen=True)
class AuditOptions:
    """The options of the `audit` command. run: those that `run` has too; samples: test images per task, classes in turn."""

    run: RunOptions
    switches: Sequence[str] | None
    samples: int
    output: Path


def audit(options: AuditOptions, console: Console) -> int:
    """Train and measure what is not there yet, then write tables and figure. Returns 0, or 1 if something failed.

    Everything lies beside the runs, in `audit/`; a finished run of the preset itself is used where it stands. Raises
    ConfigError, DataError, StoreError.
    """
    methods = list(dict.fromkeys(options.run.methods or DEFAULT_METHODS))
    for method in methods:
        if method not in METHODS:
            raise ConfigError(f"--methods {method}: switches are turned on {', '.join(METHODS)} only")
    if options.samples < 1:
        raise ConfigError(f"--samples {options.samples}: 1 or more")
    preset = load_preset(options.run.preset, options.run.overrides, options.run.seeds)
    switches = chosen(None if options.switches is None else list(options.switches), methods)
    tables = [name for name in TABLES if options.switches is None or name in options.switches]
    given = make_machine(options.run, preset)
    machine = replace(given, runs=folder_of(options.run.results) / "runs", published=given.runs / ".nowhere")
    if not options.run.dry_run:
        check_writable(machine.runs)
    tasks = load_with_progress(preset, machine, console)
    variants = make_variants(preset, methods, switches, tasks, machine)
    black_box = undefended(preset, tasks, machine) if "comparator" in tables and "madry_at" in methods else {}
    jobs = [*all_jobs(variants), *black_box.values()]
    # What a run needs first is looked for where that run is learned.
    there = {job.hash for job in jobs if job.of_preset and is_learned(job, given, len(tasks))}
    homes = {job.hash: given if job.hash in there else machine for job in jobs}
    todo = still_to_learn([job for job in jobs if homes[job.hash] is machine], machine, tasks)
    findings = Findings(preset, tasks, variants, black_box)
    _announce(findings, jobs, todo, options.samples, machine, console)
    if options.run.dry_run:
        return 0
    failures = learn(todo, machine, tasks, console) if todo else []
    unlearned = {job.hash for job in jobs if not is_learned(job, homes[job.hash], len(tasks))}
    findings = _of_learned(findings, unlearned)
    folder = folder_of(options.run.results) / "outcomes"
    measurements = Measurements(folder, tasks, options.samples, preset.file.evaluation.seed, homes)
    _measure(findings.cells(), measurements, preset, machine, console)
    show(write(findings.report(measurements, tables), options.output), console)
    for failure in failures:
        console.print(f"failed: {failure}", style="red", highlight=False, markup=False)
    return 1 if failures else 0


def folder_of(results: Path) -> Path:
    """Where an audit keeps its runs and outcomes: beside the runs, so that no report takes one for a row."""
    return results.parent / "audit"


def _of_learned(findings: Findings, unlearned: set[str]) -> Findings:
    """Without the variants that could not be learned; without a method whose canonical run could not. Raises ConfigError."""

    def whole(variant: Variant) -> bool:
        return not unlearned & {job.hash for job in variant.jobs.values()}

    methods = {variant.method for variant in findings.variants if variant.name == CANONICAL and whole(variant)}
    variants = [variant for variant in findings.variants if variant.method in methods and whole(variant)]
    if not variants:
        raise ConfigError(
            "no canonical run could be learned, so there is nothing to compare with; the failures say why"
        )
    black_box = {seed: job for seed, job in findings.undefended.items() if job.hash not in unlearned}
    return replace(findings, variants=variants, undefended=black_box)


def _announce(
    findings: Findings, jobs: Sequence[Job], todo: Sequence[Planned], samples: int, machine: Machine, console: Console
) -> None:
    """What there is to do, before anything starts; how long at most, where there is anything to learn."""
    cells = findings.cells()
    text = (
        f"Audit of {findings.preset.name}: {len(findings.variants)} protocols on {len(findings.tasks)} tasks, {len(todo)} of "
        f"{len(jobs)} runs to learn, {len(cells)} attacks on their classifiers (what is stored is not measured again)"
    )
    if todo:
        images = [min(samples, len(task.test)) for task in findings.tasks]
        passes = sum(item.passes for item in todo) + sum((2 * c.lane.steps + 1) * images[c.task] for c in cells)
        scenario = findings.preset.scenario(machine.source)
        seconds = passes * seconds_per_pass(jobs, scenario, machine.device, machine.threads) / machine.workers
        text += f"; at most about {duration(seconds)} on {machine.device} with {machine.workers} x {machine.threads} threads"
    console.print(text, highlight=False, markup=False)


def _measure(
    cells: Sequence[AuditCell], measurements: Measurements, preset: Preset, machine: Machine, console: Console
) -> None:
    lacking = measurements.lacking(cells)
    if not lacking:
        return
    console.print(f"{len(lacking)} attacks to run", highlight=False)
    columns = (TextColumn("attacks"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("attacks", total=len(lacking))
        measure_all(lacking, measurements, preset, machine, lambda count: progress.update(bar, advance=count))
