"""The presets that demanded a run: whether they still make it, and the job, the machine and the data they make it with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from benchmark.commands.verify.findings import Finding, Problems
from benchmark.commands.verify.identity import as_stored, differing, row_fields
from benchmark.commands.verify.tasks import tasks_of_identity
from benchmark.errors import ConfigError, quoted
from benchmark.planning.jobs import Job, make_jobs, tasks_of
from benchmark.planning.machine import Machine, make_machine
from benchmark.planning.options import RunOptions
from benchmark.planning.presets import Preset, PresetRow, available, load_preset
from benchmark.planning.presets.overrides import taken_apart
from benchmark.planning.protocols import protocol_of
from benchmark.planning.tasks import load_with_progress
from methods.base import MethodError
from reports.numbers.wording import counted
from results.files import digest
from results.records import Run
from scenarios.base import DataError, Task

PRETRAINING = ": pre-training"
"""Suffix of a preset's name where a run of another scenario was demanded, because rows of the preset are pre-trained on it."""
NOT_COMPARED = ("demanded_at", "command", "source", "checks")
"""Fields of a recorded demand that may differ from what the preset demands now."""
CODE = ".py"
"""The end of the names of plug-in files."""
ALWAYS_RECORDED = ("label", "ranking_eps", "matrix", "matrix_samples", "final", "samples", "tasks")
"""Fields that every recorded demand has."""


@dataclass(frozen=True)
class Made:
    """A run as a preset makes it: the job, the machine it is stored on, and the tasks it learned."""

    job: Job
    machine: Machine
    tasks: list[Task]


@dataclass(frozen=True)
class Origin:
    """The origin of a run, as far as it is known here.

    made: the run as the first preset that makes it does; None if no preset here makes it.
    tasks: the data of the run; also found without a preset, from the identity alone; None if it is not here.
    lacking: what is not here, in words; empty if `made` is there.
    presets: the finding about the presets.
    """

    made: Made | None
    tasks: list[Task] | None
    lacking: str
    presets: Finding


def origin_of(run: Run, options: RunOptions, console: Console) -> Origin:
    """Make the jobs of every preset that demanded a run, and compare. Raises ConfigError for a wrong --preset or --device."""
    search = _Search(run, options, console)
    for name, protocol in run.protocols.items():
        search.look_at(name, protocol)
    return search.origin()


class _Search:
    """The search for the presets that make a run. The data is loaded once for each."""

    def __init__(self, run: Run, options: RunOptions, console: Console) -> None:
        self.run, self.options, self.console = run, options, console
        self.problems = Problems()
        self.left_out: list[str] = []
        self.made: list[Made] = []
        self.lacks_data = False

    def look_at(self, name: str, protocol: Any) -> None:
        """Make the run again by the preset called `name`, and compare. protocol: what is recorded that the preset demands."""
        if not isinstance(protocol, dict):
            self.problems.add("a demand that cannot be read", [name])
            return
        if code := _code_named_by(name, protocol):
            self.left_out.append(f"{name}: the record names a file of code ({code}), which is not executed for it")
            return
        try:
            preset = _preset(name, protocol, self.run.seed, self.options)
        except ConfigError as error:
            if self.options.preset:
                raise
            self.left_out.append(f"{name}: {error}; name its file with --preset")
            return
        machine = make_machine(self.options, preset)
        try:
            tasks = load_with_progress(preset, machine, self.console)
            jobs = make_jobs(preset, _rows(preset, protocol), tasks, machine.source)
            job = next((job for job in jobs if job.hash == self.run.hash), None)
            learned = tasks if job is None else tasks_of(job, tasks, machine)
        except DataError as error:
            self.lacks_data = True
            self.left_out.append(f"{name}: the data is not here ({error})")
        except (ConfigError, MethodError) as error:
            self.problems.add(f"preset {name} does not make this run any more", [str(error)])
        else:
            if job is None:
                self._explain(name, protocol, jobs)
            else:
                self.made.append(Made(job, machine, learned))
                self._compare(name, protocol, self.made[-1])

    def _explain(self, name: str, protocol: Mapping[str, Any], jobs: Sequence[Job]) -> None:
        """Say why none of a preset's jobs is the run."""
        if not _is_row(protocol):
            self.left_out.append(f"{name}: no row of it needs this")
        elif self.run.identity.get("method_file"):
            self.left_out.append(f"{name}: its method is of another file")
        else:
            label = protocol.get("label", self.run.label)
            other = next((job for job in jobs if job.of_preset and job.label == label), None)
            reason = f"no row {label}"
            if other is not None:
                reason = f"its {label} differs in {differing(self.run.identity, other.identity)}"
            self.problems.add(f"preset {name} does not make this run any more", [reason])

    def _compare(self, name: str, protocol: Mapping[str, Any], made: Made) -> None:
        """Compare the stored identity, and what was demanded, with what the preset says now."""
        run, job = self.run, made.job
        if fields := differing(run.identity, job.identity):
            self.problems.add("the identity is not what the preset says", [fields])
        older_form = digest(row_fields(run))
        if run.row not in (job.identity["row"], older_form):
            self.problems.add("the row's hash is not what the preset says")
        demanded = as_stored(protocol_of(job, made.machine.command, made.tasks).to_json())
        # Older records lack fields that are recorded by now, but none that numbers are made of.
        compared = [key for key in protocol if key not in NOT_COMPARED]
        changed = [key for key in compared if demanded.get(key, protocol[key]) != protocol[key]]
        changed += [key for key in ALWAYS_RECORDED if key not in protocol]
        if changed:
            self.problems.add(f"preset {name} demands something else", [", ".join(changed)])

    def origin(self) -> Origin:
        """The origin, after all presets were looked at."""
        if not self.run.protocols:
            self.left_out.append("no preset demanded it")
        count = f"{counted(len(self.made), 'preset')} made it again" if self.made or self.problems else ""
        presets = Finding("presets", count, self.problems.lines(), "; ".join(self.left_out))
        if self.made:
            return Origin(self.made[0], self.made[0].tasks, "", presets)
        if self.lacks_data:
            return Origin(None, None, "the data is not here", presets)
        return Origin(None, tasks_of_identity(self.run, self.options), "no preset here makes this run", presets)


def _is_row(protocol: Mapping[str, Any]) -> bool:
    """True if the run was demanded as a row, False if rows need it."""
    return bool(protocol.get("row_of_preset", True))


def _code_named_by(name: str, protocol: Mapping[str, Any]) -> str:
    """The first thing in a recorded demand that may be a plug-in's file, quoted; empty if there is none."""
    _, overrides = taken_apart(name, str(protocol.get("command", "")))
    return next((quoted(word) for word in [*overrides, str(protocol.get("label", ""))] if CODE in word), "")


def _preset(name: str, protocol: Mapping[str, Any], seed: int, options: RunOptions) -> Preset:
    """The preset called `name` with the row that the demand is of; if rows need the run, with all rows that may.

    Raises ConfigError too if it is no built-in one and not named by the options: a preset may name files of code, and the record
    would decide what is executed here.
    """
    file, overrides = taken_apart(name.removesuffix(PRETRAINING), str(protocol.get("command", "")))
    if not options.preset and file not in available():
        raise ConfigError(f"preset {quoted(file)} is no built-in one; name its file with --preset")
    file = options.preset or file
    if _is_row(protocol):
        methods = [str(protocol["label"])] if "label" in protocol else []
    else:
        methods = [entry.label or entry.method for entry in load_preset(file, overrides, [seed]).file.optional]
    return load_preset(file, overrides, [seed], methods)


def _rows(preset: Preset, protocol: Mapping[str, Any]) -> list[PresetRow]:
    """The row that the demand is of; all rows if it is of none."""
    mine = [row for row in preset.rows if _is_row(protocol) and row.label == protocol.get("label")]
    return mine or preset.rows
