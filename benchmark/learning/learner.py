"""The learner of a run: it learns turn by turn, validates, and stores checkpoints. It is never given a test image."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache, partial

import torch

from attacks.parts.clock import purpose
from benchmark.evaluating.fingerprints import Snapshots
from benchmark.evaluating.validation import validate
from benchmark.learning import unforgetting_proof as unforgetting
from benchmark.learning.context import RunContext, Spent
from benchmark.learning.events import Event, Listener
from benchmark.learning.opened_files import Watch
from benchmark.learning.provenance import arithmetic, peak_memory_mb
from benchmark.learning.restoring import FinishedRun, restored_state
from benchmark.planning.jobs import Job
from benchmark.planning.machine import Machine
from benchmark.planning.stored_runs import needed_run, state_key, task_key
from methods.base import MethodError, Prerequisite
from results.checkpoints import Checkpoint
from results.schema import AFRESH, GRADIENTS, HARNESS, LEARNING, PROBES, UNFORGETTING, UNSEEN, VALIDATED
from results.store import RunStore
from scenarios.base import LearnTask, Stream

OF_CLASSIFIERS = (PROBES, GRADIENTS, UNSEEN, AFRESH, VALIDATED)
"""Phases of facts about the classifiers after the last task. They are void once something is learned."""


class Learner:
    """A method that learns one run.

    job: the run.
    stream: the stream that it learns, without images.
    store: of the run; another process may hold its lock.
    listen: is told of every epoch.
    watch: notes what the method reaches for; None where nothing is watched.
    at_turn: the turn after which the method stands; None before the first.
    """

    def __init__(
        self, job: Job, machine: Machine, stream: Stream, store: RunStore, listen: Listener, watch: Watch | None = None
    ) -> None:
        self.job, self.stream, self.store, self.listen = job, stream, store, listen
        self.watch = watch or Watch.none()
        self.device = torch.device(machine.device)
        self.turns = job.turns(len(stream))
        self.at_turn: int | None = None
        self._machine, self._snapshots = machine, Snapshots()
        needed: dict[str, Callable[[], Prerequisite]] = {
            # Once: a network per task is asked for task by task, and all of its run are restored together.
            key: cache(partial(FinishedRun, need, machine))
            for key, need in job.needs.items()
        }
        with self.watch.reaching():
            self.method = job.new_method()
        self.context = RunContext(job, self.device, self.method, store, needed, listen, self.watch)
        # One object knows which tensors are stored: those of a turn's last stage are not read again at its end.
        self.checkpoints = self.context.checkpoints

    def begin(self) -> None:
        """Begin the stream."""
        with self.watch.reaching():
            self.method.begin(self.stream, self.context)

    def restore(self, turn: int) -> None:
        """Bring the method to its state after `turn`, from a checkpoint. Raises MethodError if none was kept."""
        key = state_key(self.checkpoints, self.job, turn)
        if key is None:
            raise MethodError(
                f"the checkpoint of task {turn} was not kept (keep: {self.job.preset.file.keep}); run again with --force"
            )
        state, spent = restored_state(self.checkpoints, key, self.device), self.checkpoints.values(key)["spent"]
        with self.watch.reaching():
            self.method.load_state(state)
        self.context.spent = Spent.from_json(spent)
        self.at_turn = turn

    def learn(self, turn: int, tasks: Sequence[LearnTask]) -> None:
        """Learn a turn, and store its facts and its checkpoint.

        tasks: of this turn: one task, or all for a method that learns all at once.
        Raises MethodError if the checkpoint of the turn before was not kept.
        """
        self._restore_turn_before(turn)
        if turn == self.turns[0]:
            self._note_of_needed_runs()
        context = self.context
        with purpose("learn"), self.watch.reaching():
            if self.job.all_at_once:
                context.begin_turn(-1, len(self.stream), "all tasks")
                self.method.learn_all(list(tasks), context)
            else:
                context.begin_turn(turn, len(self.stream), tasks[0].name)
                self.method.learn(tasks[0], context)
            context.end_turn()
            with purpose("validate"):
                self.recheck_validation(turn, tasks)
            with purpose("hash"):
                if self.job.claims_unforgetting:
                    self._fingerprint(turn, tasks[-1])
                state = self.method.state()
                fingerprints = {str(task): self._fingerprint_of(task) for task in range(turn + 1)}
        with purpose("write"):
            self._save(turn, Checkpoint(state.tensors, {"method": state.values, "classifiers": fingerprints}))
        self.at_turn = turn

    def _restore_turn_before(self, turn: int) -> None:
        before = self.turns[: self.turns.index(turn)]
        if before and self.at_turn != before[-1]:
            self.restore(before[-1])

    def _note_of_needed_runs(self) -> None:
        """Note the things that methods of needed runs reached for: a method that takes their networks takes these over."""
        for need in self.job.needs.values():
            run = needed_run(need, self._machine)
            facts = run.facts if run is not None else None
            texts = [] if facts is None else facts.loc[facts["phase"] == LEARNING, "text"].dropna().tolist()
            for kind, names in (item for text in texts for item in json.loads(text).items()):
                for name in names:
                    self.watch.note(kind, f"{name} (by {need.plugin.name}, whose run it needs)")

    def recheck_validation(self, turn: int, tasks: Sequence[LearnTask]) -> None:
        """Record the validation accuracy of the classifiers just learned, beside what the method logged."""
        record, all_at_once = self.context.record_fact, self.job.all_at_once
        recipe, eps = self.job.recipe, self.job.preset.eps
        found = {task.id: validate(self.method.classifier(self.job.asks(task.id)), task, recipe, eps) for task in tasks}
        for task, validation in found.items():
            # Image by image, so that methods whose goal is this run can compare pairs.
            outcomes = validation.to_json()
            record(HARNESS, "validation_clean", validation.clean, task, outcomes["clean"])
            record(HARNESS, "validation_robust", validation.robust, task, outcomes["robust"])
        if all_at_once:
            sizes = [len(task.validation) for task in tasks]
            for kind in ("clean", "robust"):
                mean = sum(getattr(found[t.id], kind) * n for t, n in zip(tasks, sizes, strict=True)) / sum(sizes)
                record(HARNESS, f"validation_{kind}", mean, -1)
        # The last value logged is the method's selection; a method that decides by itself records these facts.
        for name in ("selected_clean", "selected_robust"):
            logged = [fact for fact in self.context.logs.facts if fact["name"] == name]
            if logged:
                record(HARNESS, name, logged[-1]["value"], -1 if all_at_once else turn)

    def _fingerprint_of(self, task: int) -> str:
        return self._snapshots.take(self.method.classifier(self.job.asks(task)), task).fingerprint

    def _fingerprint(self, turn: int, task: LearnTask) -> None:
        """Record what a later proof of not forgetting compares with; an earlier proof is void."""
        found = unforgetting.fingerprints(self.method.classifier(turn).to(self.device), task)
        found["arithmetic"] = arithmetic(self.device)
        for kind, value in found.items():
            self.context.record_fact(HARNESS, f"fingerprint_{kind}", None, turn, value)
        self.store.drop_part("facts", UNFORGETTING)

    def _save(self, turn: int, learned: Checkpoint) -> None:
        """Store the facts and the checkpoint of a turn; records of classifiers that are no more are set aside."""
        context = self.context
        stale = self.store.set_stale_aside(turn, learned.values["classifiers"])
        if stale or not self.store.evaluated(turn):
            # A turn that was learned again for its facts ends in the classifiers that were evaluated: their facts hold.
            for phase in OF_CLASSIFIERS:
                self.store.drop_part("facts", phase)
        for problem in stale:
            self.listen(Event(self.job.hash, self.job.label, self.job.seed, "note", text=f"set aside {problem}"))
        # A process that goes on after a kill has not seen the peak of the one before.
        context.spent.peak_memory_mb = max(context.spent.peak_memory_mb, peak_memory_mb(self.device))
        self.store.write_part("facts", task_key(turn), context.logs.facts)
        self.store.write_part("training", task_key(turn), context.logs.training)
        values = {**learned.values, "spent": context.spent.to_json()}
        self.checkpoints.save(task_key(turn), Checkpoint(learned.tensors, values))
        self.checkpoints.forget([name for name in self.checkpoints.names() if ".stage-" in name])
