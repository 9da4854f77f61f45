"""The runs of an audit: for a row of the preset and a protocol, the job that trains it; equal trainings are one job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmark.commands.audit.protocol import BY_NAME, GATES, PACKED, AuditProtocol, Switch
from benchmark.errors import ConfigError, nearest
from benchmark.planning.jobs import Job, make_jobs
from benchmark.planning.machine import Machine
from benchmark.planning.presets import MethodEntry, Preset
from reports.audit.audited_row import CANONICAL
from scenarios.base import Task

PLUGINS = Path(__file__).with_name("plugins")
METHODS = ("madry_at", *PACKED)
"""The rows on which switches are turned: adversarial training for the attack's, packed methods for `gate` and `sequence`."""


@dataclass(frozen=True)
class Variant:
    """A row under a protocol. name: `canonical`, a switch or a bundle; jobs: by seed the run whose classifiers are measured."""

    method: str
    name: str
    protocol: AuditProtocol
    jobs: dict[int, Job]

    @property
    def switch(self) -> Switch | None:
        return None if self.name == CANONICAL else BY_NAME[self.name]


def make_variants(
    preset: Preset, methods: Sequence[str], switches: Sequence[Switch], tasks: list[Task], machine: Machine
) -> list[Variant]:
    """Every row and protocol, the canonical ones first. Raises ConfigError for a row that no switch is turned on."""
    factory = _Factory(preset, tasks, machine)
    variants = []
    for method in methods:
        if method not in METHODS:
            raise ConfigError(f"--methods {method}: no switch is turned on it{nearest(method, METHODS)}")
        entry = entry_of(preset, method)
        canonical = AuditProtocol(step_size=factory.recipe_step(entry))
        protocols = {CANONICAL: canonical}
        protocols |= {switch.name: canonical.turned(switch.changes) for switch in switches if method in switch.methods}
        for name, protocol in protocols.items():
            variants.append(Variant(method, name, protocol, factory.jobs(method, entry, name, protocol, canonical)))
    return variants


def entry_of(preset: Preset, method: str) -> MethodEntry:
    """The preset's row of this label; where it has none, the method with its defaults."""
    rows = [*preset.file.methods, *preset.file.optional]
    found = [entry for entry in rows if (entry.label or entry.method) == method]
    return found[0] if found else MethodEntry(method=method)


class _Factory:
    """Makes jobs, each scenario loaded once."""

    def __init__(self, preset: Preset, tasks: list[Task], machine: Machine) -> None:
        self.preset, self.tasks, self.machine = preset, tasks, machine
        self._on_test: list[Task] | None = None

    def recipe_step(self, entry: MethodEntry) -> str:
        return self._audit_preset([entry]).rows[0].recipe.attack.step_size

    def _audit_preset(self, entries: Sequence[MethodEntry], scenario: dict[str, Any] | None = None) -> Preset:
        """The preset with these rows: nothing is measured through it but the matrix that a preset must name."""
        rows = [entry.model_dump() for entry in entries]
        evaluation = {**self.preset.file.evaluation.model_dump(), "final": []}
        changes: dict[str, Any] = {"methods": rows, "optional": [], "evaluation": evaluation}
        if self.preset.file.keep == "last":
            # `eval_time` takes classifiers as they were right after their task.
            changes["keep"] = "auto"
        return self.preset.altered(**changes, **({"scenario": scenario} if scenario else {}))

    def jobs(
        self, method: str, entry: MethodEntry, name: str, protocol: AuditProtocol, canonical: AuditProtocol
    ) -> dict[int, Job]:
        """By seed. Runs that are needed first are inside, `Job.needs`."""
        row = self._row(method, entry, name, protocol, canonical)
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
        self, method: str, entry: MethodEntry, name: str, protocol: AuditProtocol, canonical: AuditProtocol
    ) -> MethodEntry:
        settings, file = dict(entry.settings), entry.method
        if method in PACKED:
            if protocol.sequence != canonical.sequence:
                # A gate that sends a task back to random weights is no gate where every task starts from them.
                file = str(PLUGINS / f"independent_{method}.py")
            elif protocol.gate != canonical.gate:
                settings["train_gate"] = GATES[method]
        elif protocol.training() != canonical.training() and _trains(name):
            settings |= protocol.training().model_dump()
            file = str(PLUGINS / "audited_at.py")
        label = f"{method} {name}" if _trains(name) else method
        return entry.model_copy(update={"method": file, "label": label, "settings": settings})


def _trains(name: str) -> bool:
    return name != CANONICAL and BY_NAME[name].trains


def all_jobs(variants: Sequence[Variant]) -> list[Job]:
    """Every run once, each after those it needs."""
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
    """By seed the preset's own `standard`: what black-box images are made on."""
    return _Factory(preset, tasks, machine).jobs(
        "standard", entry_of(preset, "standard"), CANONICAL, AuditProtocol(), AuditProtocol()
    )
