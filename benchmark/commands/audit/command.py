"""The `audit` command: learns and attacks under each protocol what is not stored yet, then writes tables and a figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmark.commands.audit.attacking.cell_store import CellStore
from benchmark.commands.audit.attacking.cells import AuditCell
from benchmark.commands.audit.attacking.workers import attack_cells
from benchmark.commands.audit.comparison import AuditComparison
from benchmark.commands.audit.protocols import EVALUATIONS
from benchmark.commands.audit.switches import AuditedEvaluation
from benchmark.commands.audit.variants import AUDITED, Variant, all_jobs, make_variants, undefended
from benchmark.commands.learning_only import is_learned, learn, still_to_learn
from benchmark.commands.timing.rates import measure_rates
from benchmark.errors import ConfigError
from benchmark.planning.jobs import Job
from benchmark.planning.machine import Machine, check_writable, make_machine
from benchmark.planning.options import RunOptions
from benchmark.planning.plan import Cost, Planned
from benchmark.planning.presets import Preset, load_preset
from benchmark.planning.tasks import load_with_progress
from benchmark.running.progress.duration import duration
from reports.audit.audited_row import CANONICAL
from reports.audit.files import show, write
from results.files import require_folder
from scenarios.base import Task


@dataclass(frozen=True)
class AuditOptions:
    """The options of the `audit` command.

    run: the options that `run` has too.
    switches: names of switches, bundles and small tables; None: all of them.
    samples: test images per task, at most, with the classes in turn.
    output: the folder that `audit/` is written into.
    protocol: whose evaluation is audited, a name of `EVALUATIONS`.
    """

    run: RunOptions
    switches: Sequence[str] | None
    samples: int
    output: Path
    protocol: str = "thesis"


@dataclass(frozen=True)
class AuditRuns:
    """The runs of an audit.

    jobs: every run, each after those it needs.
    machines: by a run's hash the machine whose folder holds the run, or will hold it.
    todo: the runs that must still be learned.
    """

    jobs: Sequence[Job]
    machines: dict[str, Machine]
    todo: Sequence[Planned]


def audit(options: AuditOptions, console: Console) -> int:
    """Learn and attack what is not stored yet, then write tables and figure. Returns 0, or 1 if something failed.

    Everything is stored beside the runs, in `audit/`. A finished run of the preset itself is used as it is. Raises ConfigError,
    DataError, StoreError.
    """
    evaluation = EVALUATIONS[options.protocol]
    methods = _methods(options, evaluation)
    preset = load_preset(options.run.preset, options.run.overrides, options.run.seeds)
    preset.must_tell_tasks("audit")
    switches = evaluation.chosen(options.switches, methods)
    tables = [name for name in evaluation.tables if options.switches is None or name in options.switches]
    preset_machine = make_machine(options.run, preset)
    # A tracked run has no checkpoints, and an audit attacks checkpoints.
    machine = replace(preset_machine, runs=folder_of(options.run.results) / "runs").without_published()
    if not options.run.dry_run:
        check_writable(machine.runs)
        require_folder(options.output)
    tasks = load_with_progress(preset, machine, console)
    variants = make_variants(preset, methods, switches, tasks, machine)
    sources = undefended(preset, tasks, machine) if "comparator" in tables and "madry_at" in methods else {}
    comparison = AuditComparison(evaluation, preset, tasks, variants, sources, tables)
    runs = _find_runs(comparison, preset_machine, machine)
    _announce(comparison, runs, options.samples, machine, console)
    if options.run.dry_run:
        return 0
    ended = learn(runs.todo, machine, tasks, console) if runs.todo else []
    failures = [failure for result in ended for failure in result.failures]
    comparison = _without_unlearned(comparison, runs)
    seed = preset.evaluation.seed
    store = CellStore(folder_of(options.run.results) / "outcomes", tasks, options.samples, seed, runs.machines)
    _attack(comparison.cells(), store, preset, machine, console)
    show(write(comparison.report(store), options.output), console)
    for failure in failures:
        console.print(f"failed: {failure}", style="red", highlight=False, markup=False)
    return 1 if failures else 0


def folder_of(results: Path) -> Path:
    """The folder of an audit's runs and outcomes. It is beside the runs, so that no report takes one of them for a row."""
    return results.parent / "audit"


def _methods(options: AuditOptions, evaluation: AuditedEvaluation) -> list[str]:
    """The methods to audit, each once.

    Raises ConfigError if a method has no switches, or if less than one sample is asked for.
    """
    methods = list(dict.fromkeys(options.run.methods or evaluation.methods))
    for method in methods:
        if method not in AUDITED:
            raise ConfigError(f"--methods {method}: switches are turned on {', '.join(AUDITED)} only")
    if options.samples < 1:
        raise ConfigError(f"--samples {options.samples}: give 1 or more")
    return methods


def _find_runs(comparison: AuditComparison, preset_machine: Machine, machine: Machine) -> AuditRuns:
    """Look up the runs of a comparison.

    preset_machine: its folder holds the preset's own runs.
    machine: its folder holds the audit's runs.
    """
    tasks = list(comparison.tasks)
    jobs = [*all_jobs(comparison.variants), *comparison.undefended.values()]
    # A prerequisite must lie in the folder of the run that needs it, so only runs of the preset's rows are taken from its folder.
    stored = {job.hash for job in jobs if job.of_preset and is_learned(job, preset_machine, len(tasks))}
    machines = {job.hash: preset_machine if job.hash in stored else machine for job in jobs}
    todo = still_to_learn([job for job in jobs if machines[job.hash] is machine], machine, tasks)
    return AuditRuns(jobs, machines, todo)


def _without_unlearned(comparison: AuditComparison, runs: AuditRuns) -> AuditComparison:
    """The comparison without variants of which a seed could not be learned, and without methods whose canonical row is such.

    Without black-box images too, if one of the undefended networks could not. Raises ConfigError if nothing is left.
    """
    tasks = len(comparison.tasks)
    unlearned = {job.hash for job in runs.jobs if not is_learned(job, runs.machines[job.hash], tasks)}

    def is_whole(variant: Variant) -> bool:
        return not unlearned & {job.hash for job in variant.jobs.values()}

    methods = {variant.method for variant in comparison.variants if variant.name == CANONICAL and is_whole(variant)}
    variants = [variant for variant in comparison.variants if variant.method in methods and is_whole(variant)]
    if not variants:
        raise ConfigError(
            "no canonical run could be learned, so there is nothing to compare with; the failures say why"
        )
    # Beside accuracies over all seeds one over some of them would differ by the seeds too.
    has_sources = not unlearned & {job.hash for job in comparison.undefended.values()}
    return replace(comparison, variants=variants, undefended=comparison.undefended if has_sources else {})


def _announce(comparison: AuditComparison, runs: AuditRuns, samples: int, machine: Machine, console: Console) -> None:
    """Print the work that there is, before anything starts, and its duration at most if there is something to learn."""
    cells = comparison.cells()
    text = (
        f"Audit of {comparison.preset.name}, {comparison.evaluation.name}: {len(comparison.variants)} protocols on "
        f"{len(comparison.tasks)} tasks, "
        f"{len(runs.todo)} of {len(runs.jobs)} runs to learn, {len(cells)} attacks on their classifiers (stored outcomes are "
        "not made again)"
    )
    if runs.todo:
        rates = measure_rates(runs.jobs, comparison.preset.scenario(machine.source), machine)
        attacks = Cost(exact=_attack_passes(cells, comparison.tasks, samples))
        seconds = sum(rates.seconds(cost) for cost in (*(item.cost for item in runs.todo), attacks)) / machine.workers
        text += f"; at most about {duration(seconds)} on {machine.device} with {machine.workers} x {machine.threads} threads"
    console.print(text, highlight=False, markup=False)


def _attack_passes(cells: Sequence[AuditCell], tasks: Sequence[Task], samples: int) -> float:
    """The passes of an image through a network that the attacks of cells take."""
    images = [len(task.test) for task in tasks]
    return sum((2 * cell.attack.steps + 1) * cell.images(images[cell.task], samples) for cell in cells)


def _attack(cells: Sequence[AuditCell], store: CellStore, preset: Preset, machine: Machine, console: Console) -> None:
    """Run the attacks whose outcomes are not stored, with a progress bar."""
    lacking = store.lacking(cells)
    if not lacking:
        return
    console.print(f"{len(lacking)} attacks to run", highlight=False)
    columns = (TextColumn("attacks"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("attacks", total=len(lacking))
        attack_cells(lacking, store, preset, machine, lambda count: progress.update(bar, advance=count))
