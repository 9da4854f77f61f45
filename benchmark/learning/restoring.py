"""Methods and classifiers restored from checkpoints, and finished runs as another run needs them."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import nn

from benchmark.learning.context import RunContext
from benchmark.planning.jobs import Job
from benchmark.planning.machine import Machine
from benchmark.planning.stored_runs import needed_run, task_checkpoints, task_key
from methods.base import Method, MethodError, State
from methods.training import Validation
from results.checkpoints import Checkpoints
from results.files import StoreError
from results.schema import HARNESS
from results.store import RunStore


class FinishedRun:
    """A finished run that another one needs (`methods.base.Prerequisite`). Raises MethodError if it is not stored."""

    def __init__(self, job: Job, machine: Machine) -> None:
        run = needed_run(job, machine)
        if run is None:
            raise MethodError(f"the prerequisite run {job} is not stored")
        self.job, self.machine, self.run = job, machine, run

    def fact(self, name: str, task: int) -> float:
        """The value of a fact, the last one recorded. Raises MethodError if there is none."""
        facts = self.run.facts
        found = facts[(facts["name"] == name) & (facts["task"] == task)]["value"].dropna()
        if found.empty:
            raise MethodError(f"prerequisite {self.job} holds no fact {name!r} of task {task}")
        return float(found.iloc[-1])

    def validation(self, task: int) -> Validation:
        """The validation outcomes of its classifier of a task, found by the harness. Raises MethodError if none are stored."""
        facts = self.run.facts
        found = facts[(facts["phase"] == HARNESS) & (facts["task"] == task)].dropna(subset=["text"])
        texts = dict(zip(found["name"], found["text"], strict=True))
        try:
            return Validation.from_json({kind: texts[f"validation_{kind}"] for kind in ("clean", "robust")})
        except (KeyError, ValueError):
            raise MethodError(
                f"prerequisite {self.job} holds no validation outcomes of task {task}, so there is no goal; "
                f"run `run --methods {self.job.method} --force` first"
            ) from None

    @cached_property
    def _method(self) -> Method:
        names = task_checkpoints(Checkpoints(RunStore(self.machine.runs, self.job.hash).directory / "checkpoints"))
        if not names:
            raise MethodError(f"prerequisite {self.job} holds no checkpoint; run it again with --force")
        return restored_method(self.job, self.machine, names[-1])

    def classifier(self, task: int) -> nn.Module:
        """The classifier of a task after the last task. Raises MethodError if the run holds no checkpoint."""
        return self._method.classifier(self.job.asks(task))


def restored_method(job: Job, machine: Machine, key: str) -> Method:
    """Make a fresh instance of the job's method and give it the state of checkpoint `key`, nothing else. Raises StoreError."""
    store, device = RunStore(machine.runs, job.hash), torch.device(machine.device)
    method = job.new_method()
    context = RunContext(job, device, method, store, {}, lambda event: None, restores=True)
    method.begin(job.stream, context)
    method.load_state(restored_state(Checkpoints(store.directory / "checkpoints"), key, device))
    return method


def restored_state(checkpoints: Checkpoints, name: str, device: torch.device) -> State:
    """A method's state from a checkpoint of its run, on the device. Raises StoreError."""
    stored = checkpoints.load(name, device)
    if not isinstance(values := stored.values.get("method"), dict):
        raise StoreError(f"{checkpoints.directory / name}.json: holds no state of a method")
    return State(stored.tensors, values)


class Classifiers:
    """Classifiers of stored runs, from their checkpoints. A method is restored once per turn."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._methods: dict[tuple[str, str], Method] = {}

    def of(self, job: Job, turn: int | None, task: int) -> nn.Module:
        """The classifier of a task after `turn`, on the machine's device. turn: None for the last one.

        If a method that claims not to forget kept no checkpoint of that turn, its last state stands for it. Raises MethodError
        if there is no such checkpoint, StoreError if it is unreadable.
        """
        names = task_checkpoints(Checkpoints(RunStore(self.machine.runs, job.hash).directory / "checkpoints"))
        if not names:
            raise MethodError(f"{job} holds no checkpoint; run it again with --force")
        wanted = names[-1] if turn is None else task_key(turn)
        if wanted not in names and job.claims_unforgetting:
            wanted = names[-1]
        if wanted not in names:
            raise MethodError(f"{job} holds no checkpoint of task {turn} (keep: {job.preset.file.keep})")
        key = (job.hash, wanted)
        if key not in self._methods:
            self._methods[key] = self._restored(job, wanted)
        return self._methods[key].classifier(job.asks(task)).to(self.machine.device)

    def _restored(self, job: Job, key: str) -> Method:
        try:
            return restored_method(job, self.machine, key)
        except (StoreError, MethodError):
            raise
        # Tensors of another shape or name, other values: a manifest that was edited or exchanged meets any line of a method.
        except Exception as error:
            manifest = RunStore(self.machine.runs, job.hash).directory / "checkpoints" / f"{key}.json"
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:120]
            raise StoreError(f"{manifest}: not a state of this method ({reason})") from error
