"""A temporary run of one turn: what is recorded of a classifier that belongs to no run, so that the checks can judge it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from attacks.base import Attack
from benchmark.commands.evaluate.made_anew import FromFile, judged_anew
from benchmark.evaluating.attacking import Attacked
from benchmark.evaluating.fingerprints import classifier_fingerprint
from benchmark.evaluating.questions import QUESTIONS, asked_phases
from benchmark.learning.handed_over import Shelf
from benchmark.planning.cells import Work
from benchmark.planning.machine import Machine
from benchmark.planning.presets import Preset
from benchmark.planning.protocols import preset_protocol, task_rows
from benchmark.running.recording import Recorder
from reports.boards.building import judged
from reports.checks.verdicts import Verdict
from results import load, schema
from results.records import identity_hash, row_hash
from results.schema import AFRESH, LEARNING
from results.store import RunStore
from scenarios.base import Task


class TemporaryRun:
    """A run of one turn: outcomes of attacks go in, verdicts come out."""

    def __init__(
        self,
        folder: Path,
        classifier: nn.Module,
        tasks: Sequence[Task],
        preset: Preset,
        machine: Machine,
        source: FromFile | None = None,
    ) -> None:
        """folder: an empty one; the run is of no use afterwards.

        tasks: numbered from 0; all of them are the classifier's.
        source: of the classifier; None if it has no file.
        """
        self._folder, self._classifier, self._preset, self._tasks = folder, classifier, preset, list(tasks)
        self._fingerprint = classifier_fingerprint(classifier)
        identity = {"schema": schema.VERSION, "method": "module", "classifier": self._fingerprint, "seed": 0}
        self._store = RunStore(folder, identity_hash(identity))
        named = {"label": "module", "row": row_hash(identity), "hash": self._store.hash}
        self._store.write_config({**identity, **named}, {})
        self._store.write_tasks(task_rows(self._tasks))
        self._recorder = Recorder(self._store, preset, machine.device, machine.threads)
        self._source, self._shelf = source, Shelf(self._store.directory, preset.ranking)

    @property
    def _last(self) -> int:
        return len(self._tasks) - 1

    def record(self, task: Task, work: Work, attacked: Attacked) -> None:
        """Record the outcomes of attacks on a task, which were asked for their images."""
        self._shelf.put(self._recorder.named(attacked, task, self._fingerprint), task.id, attacked)
        self._recorder.record(work, task, self._fingerprint, attacked)

    def fail(self, task: Task, attacks: Sequence[Attack], error: BaseException) -> None:
        """Record that attacks on a task failed."""
        message = " ".join(str(error).split())
        for attack in attacks:
            name = self._preset.attack_name(attack)
            self._store.fail(stage=name, after_task=self._last, task=task.id, attack=name, message=message)

    def verdicts(self) -> list[Verdict]:
        """Ask the classifier what a row's classifiers are asked, then judge everything that was recorded."""
        untold = {"reason": "the network came trained: nobody watched how"}
        row = {"task": 0, "phase": LEARNING, "name": "watched", "value": 0.0, "text": json.dumps(untold)}
        self._store.write_part("facts", LEARNING, [row])
        for phase in asked_phases(self._preset.evaluation):
            self._ask(phase)
        self._judge_anew()
        # Transfers need the preset's own runs.
        protocol = preset_protocol(self._preset, self._tasks, "module", transfers=False)
        self._store.demand(self._preset.name, replace(protocol, all_at_once=len(self._tasks) > 1).to_json())
        (found,) = judged(load(self._folder, None), self._preset.name)
        return found.verdicts

    def _ask(self, phase: str) -> None:
        rows = []
        for task in self._tasks:
            try:
                rows += QUESTIONS[phase](self._classifier, task, self._preset.asking)
            except (Exception, SystemExit) as error:
                self._store.fail(stage=phase, task=task.id, check=phase, message=f"{type(error).__name__}: {error}")
        self._store.write_part("facts", phase, rows)

    def _judge_anew(self) -> None:
        try:
            handed_over = self._shelf.taken(self._store.read().evaluations["evaluation_id"].unique())
            fingerprints = {task.id: self._fingerprint for task in self._tasks}
            self._store.write_part("facts", AFRESH, judged_anew(self._source, handed_over, fingerprints))
        except (Exception, SystemExit) as error:
            message = " ".join(str(error).split())
            self._store.fail(stage="made anew", task=self._last, check=AFRESH, message=message)
