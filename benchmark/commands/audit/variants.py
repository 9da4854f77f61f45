"""The runs of an audit: the job that trains each row of the preset under each protocol. Equal trainings are one job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmark.commands.audit.protocols.thesis import GATES, PACKED
from benchmark.commands.audit.switches import AuditProtocol, Switch
from benchmark.errors import ConfigError, nearest
from benchmark.planning.jobs import Job, make_jobs
from benchmark.planning.machine import Machine
from benchmark.planning.presets import MethodEntry, Preset
from reports.audit.audited_row import CANONICAL
from scenarios.base import Task

PLUGINS = Path(__file__).with_name("plugins")
AUDITED = ("madry_at", *PACKED)
"""The rows on which switches are turned: adversarial training for those of attack and evaluation, packed methods for `gate` and
`sequence`."""


@dataclass(frozen=True)
class Variant:
    """A row under a protocol.

    method: the row.
    switch: the switch or bundle that is turned; None for the canonical protocol.
    jobs: by seed the run whose classifiers are attacked.
    """

    method: str
    switch: Switch | None
    protocol: AuditProtocol
    jobs: dict[int, Job]

    @property
    def name(self) -> str:
        """`canonical`, or the name of the switch or bundle."""
        return CANONICAL if self.switch is None else self.switch.name


def make_variants(
    preset: Preset, methods: Sequence[str], switches: Sequence[Switch], tasks: list[Task], machine: Machine
) -> list[Variant]:
    """Every row under every protocol, the canonical one first. Raises ConfigError if a method has no switches."""
    factory = _Factory(preset, tasks, machine)
    variants = []
    for method in methods:
        if method not in AUDITED:
            raise ConfigError(f"--methods {method}: no switch is turned on it{nearest(method, AUDITED)}")
        entry = entry_of(preset, method)
        canonical = AuditProtocol(step_size=factory.recipe_step(entry))
        for switch in (None, *(each for each in switches if method in each.methods)):
            protocol = canonical if switch is None else canonical.turned(switch.changes)
            variants.append(Variant(method, switch, protocol, factory.jobs(method, entry, switch, protocol, canonical)))
    return variants


def entry_of(preset: Preset, method: str) -> MethodEntry:
    """The preset's row of this label; if there is none, the method with its defaults."""
    rows = [*preset.file.methods, *preset.file.optional]
    found = [entry for entry in rows if (entry.label or entry.method) == method]
    return found[0] if found else MethodEntry(method=method)


class _Factory:
    """Makes jobs. Each scenario is loaded once."""

    def __init__(self, preset: Preset, tasks: list[Task], machine: Machine) -> None:
        self.preset, self.tasks, self.machine = preset, tasks, machine
        self._on_test: list[Task] | None = None

    def recipe_step(self, entry: MethodEntry) -> str:
        """The step size of the row's training attack."""
        return self._audit_preset([entry]).rows[0].recipe.attack.step_size

    def _audit_preset(self, entries: Sequence[MethodEntry], scenario: dict[str, Any] | None = None) -> Preset:
        """The preset with these rows. It is only learned by; its matrix is there because a preset must have one."""
        rows = [entry.model_dump() for entry in entries]
        evaluation = {**self.preset.file.evaluation.model_dump(), "final": []}
        changes: dict[str, Any] = {"methods": rows, "optional": [], "evaluation": evaluation}
        if self.preset.file.keep == "last":
            # `eval_time` takes classifiers as they were right after their task.
            changes["keep"] = "auto"
        return self.preset.altered(**changes, **({"scenario": scenario} if scenario else {}))

    def jobs(
        self, method: str, entry: MethodEntry, switch: Switch | None, protocol: AuditProtocol, canonical: AuditProtocol
    ) -> dict[int, Job]:
        """The jobs of a row under a protocol, by seed. The runs they need first are in `Job.needs`."""
        row = self._row(method, entry, switch, protocol, canonical)
        source = self.machine.source
        if protocol.selection_split == canonical.selection_split:
            preset = self._audit_preset([row])
            jobs = make_jobs(preset, preset.rows, self.tasks, source)
            return {job.seed: job for job in jobs if job.of_preset}
        preset = self._audit_preset(
            [row], {"name": str(PLUGINS / "selected_on_test.py"), "of": self.preset.file.scenario}
        )
        self._on_test = self._on_test or preset.scenario(source).load(self.machine.device)
        jobs = make_jobs(preset, preset.rows, self._on_test, source)
        # Of another scenario than the rest: a worker loads its tasks when it gets there.
        return {job.seed: replace(job, elsewhere=True) for job in jobs if job.of_preset}

    def _row(
        self, method: str, entry: MethodEntry, switch: Switch | None, protocol: AuditProtocol, canonical: AuditProtocol
    ) -> MethodEntry:
        """The row as the protocol trains it: the plug-in file and the settings it needs for that."""
        if switch is None or not switch.trains:
            return entry.model_copy(update={"label": method})
        settings, file = dict(entry.settings), entry.method
        if method in PACKED:
            if protocol.sequence != canonical.sequence:
                # A gate that sends a task back to random weights is no gate where every task starts from them.
                file = str(PLUGINS / f"independent_{method}.py")
            elif protocol.gate != canonical.gate:
                settings["train_gate"] = GATES[method]
        elif protocol.training() != canonical.training():
            settings |= protocol.training().model_dump()
            file = str(PLUGINS / "audited_at.py")
        return entry.model_copy(update={"method": file, "label": f"{method} {switch.name}", "settings": settings})


def all_jobs(variants: Sequence[Variant]) -> list[Job]:
    """Every run once, each after the runs it needs."""
    jobs: dict[str, Job] = {}

    def add(job: Job) -> None:
        for needed in job.needs.values():
            add(needed)
        jobs.setdefault(job.hash, job)

    for variant in variants:
        for job in variant.jobs.values():
            add(job)
    return list(jobs.values())


def undefended(preset: Preset, tasks: list[Task], machine: Machine) -> dict[int, Job]:
    """The preset's own `standard`, by seed: black-box images are made on it."""
    return _Factory(preset, tasks, machine).jobs(
        "standard", entry_of(preset, "standard"), None, AuditProtocol(), AuditProtocol()
    )
