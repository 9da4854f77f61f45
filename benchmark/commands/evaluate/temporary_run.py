"""What the checks say of a module that belongs to no run: it is recorded as a run of one task that is forgotten afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType

from torch import nn

from attacks.base import Attack
from benchmark.evaluating.evaluation import Measured
from benchmark.evaluating.fingerprints import attack_name, classifier_fingerprint
from benchmark.evaluating.probing import probe
from benchmark.planning.cells import Work
from benchmark.planning.extra_attacks import check_demands
from benchmark.planning.machine import Machine
from benchmark.planning.presets import Preset
from benchmark.planning.protocols import task_rows
from benchmark.running.recording import Recorder
from reports.boards.building import judged
from reports.checks.verdicts import Verdict
from results import load, schema
from results.files import digest
from results.schema import PROBES
from results.store import RunStore
from scenarios.base import Task


class PassingRun:
    """A run of one task in a temporary folder: what was measured goes in, verdicts come out. A context manager."""

    def __init__(self, classifier: nn.Module, task: Task, preset: Preset, machine: Machine) -> None:
        self._classifier, self._preset, self._task = classifier, preset, replace(task, id=0)
        self._stack = ExitStack()
        self._machine = machine

    def __enter__(self) -> PassingRun:
        self._folder = Path(self._stack.enter_context(TemporaryDirectory(prefix="evaluate-")))
        self._fingerprint = classifier_fingerprint(self._classifier)
        identity = {"schema": schema.VERSION, "hash": digest(self._fingerprint), "row": digest(self._fingerprint)}
        identity |= {"method": "module", "label": "module", "seed": 0}
        self._store = RunStore(self._folder, str(identity["hash"]))
        self._store.write_config(identity, {})
        self._store.write_tasks(task_rows([self._task]))
        self._recorder = Recorder(self._store, self._preset, self._machine.device, self._machine.threads)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def record(self, work: Work, measured: Measured) -> None:
        """Take in what attacks found."""
        self._recorder.record(replace(work, after_task=0, task=0), self._task, self._fingerprint, measured)

    def fail(self, attacks: Sequence[Attack], error: BaseException) -> None:
        """Take in that attacks failed."""
        for attack in attacks:
            name = attack_name(attack, self._preset.file.evaluation.seed)
            self._store.fail(stage=name, after_task=0, task=0, attack=name, message=" ".join(str(error).split()))

    def verdicts(self) -> list[Verdict]:
        """Ask the module the few questions that take a pass each, and judge all that was taken in."""
        try:
            self._store.write_part("facts", PROBES, probe(self._classifier, self._task))
        except Exception as error:
            self._store.fail(stage="probes", task=0, check=PROBES, message=f"{type(error).__name__}: {error}")
        preset, seed = self._preset, self._preset.file.evaluation.seed
        checks = check_demands(preset, [self._task])
        limited = [demand for demand in preset.final if demand.samples is not None]
        self._store.demand(
            preset.name,
            {
                "label": "module",
                "eps": str(preset.eps),
                "ranking_eps": str(preset.eps),
                "matrix": [attack_name(demand.attack, seed) for demand in preset.matrix],
                "final": [attack_name(demand.attack, seed) for demand in preset.final],
                "samples": {attack_name(demand.attack, seed): demand.samples for demand in limited},
                "checks": [attack_name(demand.attack, seed) for demand in checks],
                "tasks": 1,
                "claims": [],
            },
        )
        (found,) = judged(load(self._folder, None), preset.name)
        return found.verdicts
