"""A temporary run of one task: what is recorded of a classifier that belongs to no run, so that the checks can judge it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from attacks.base import Attack
from benchmark.evaluating.attacking import Attacked
from benchmark.evaluating.fingerprints import classifier_fingerprint
from benchmark.evaluating.questions import QUESTIONS, asked_phases
from benchmark.planning.cells import Work
from benchmark.planning.machine import Machine
from benchmark.planning.presets import Preset
from benchmark.planning.protocols import preset_protocol, task_rows
from benchmark.running.recording import Recorder
from reports.boards.building import judged
from reports.checks.verdicts import Verdict
from results import load, schema
from results.files import digest
from results.store import RunStore
from scenarios.base import Task


class TemporaryRun:
    """A run of one task: outcomes of attacks go in, verdicts come out."""

    def __init__(self, folder: Path, classifier: nn.Module, task: Task, preset: Preset, machine: Machine) -> None:
        """folder: an empty one; the run is of no use afterwards."""
        self._folder, self._classifier, self._preset, self._task = folder, classifier, preset, replace(task, id=0)
        self._fingerprint = classifier_fingerprint(classifier)
        run_hash = digest(self._fingerprint)
        self._store = RunStore(folder, run_hash)
        identity = {"schema": schema.VERSION, "hash": run_hash, "row": run_hash, "method": "module", "label": "module"}
        self._store.write_config({**identity, "seed": 0}, {})
        self._store.write_tasks(task_rows([self._task]))
        self._recorder = Recorder(self._store, preset, machine.device, machine.threads)

    def record(self, work: Work, attacked: Attacked) -> None:
        """Record the outcomes of attacks."""
        self._recorder.record(replace(work, after_task=0, task=0), self._task, self._fingerprint, attacked)

    def fail(self, attacks: Sequence[Attack], error: BaseException) -> None:
        """Record that attacks failed."""
        for attack in attacks:
            name = self._preset.attack_name(attack)
            self._store.fail(stage=name, after_task=0, task=0, attack=name, message=" ".join(str(error).split()))

    def verdicts(self) -> list[Verdict]:
        """Ask the classifier what a row's classifiers are asked, then judge everything that was recorded."""
        for phase in asked_phases(self._preset.evaluation):
            try:
                rows = QUESTIONS[phase](self._classifier, self._task, self._preset.asking)
                self._store.write_part("facts", phase, rows)
            except Exception as error:
                self._store.fail(stage=phase, task=0, check=phase, message=f"{type(error).__name__}: {error}")
        # Transfers need the preset's own runs.
        protocol = preset_protocol(self._preset, [self._task], "module", transfers=False)
        self._store.demand(self._preset.name, protocol.to_json())
        (found,) = judged(load(self._folder, None), self._preset.name)
        return found.verdicts
