"""The context of a run (`methods.base.Context`): everything that the harness offers to a method while it learns."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import Any, TypeVar

import torch
from torch import nn

from attacks.parts.clock import purpose
from benchmark.evaluating.validation import validate
from benchmark.learning.events import Event, Listener
from benchmark.learning.opened_files import Watch
from benchmark.planning.jobs import Job, spec_key
from methods.backbones import MultiHead, initialise
from methods.base import JSON, Method, MethodError, Prerequisite, RunSpec, State
from methods.training import Epoch, Fit, Selected, Validation, train
from methods.training.recipe import Recipe
from results.checkpoints import Checkpoint, Checkpoints
from results.files import StoreError
from results.schema import LEARNING, METHOD
from results.store import RunStore
from scenarios.base import LearnTask, Stream

T = TypeVar("T", bound=JSON)

CHEAP_SECONDS = 0.2
"""A stage is always stored if storing takes no longer than this."""
MOST_SHARE = 0.01
"""And else if storing takes at most this share of what the stage took: what is learned again after a kill is then shorter."""


@dataclass
class Spent:
    """The cost of learning so far, over all tasks and all resumptions.

    seconds: of learning.
    image_gradients: gradients with respect to one image that attacks took in training steps and validations. Those that a method
        takes once a task is learned (Fisher information, bases) are not among them; their seconds are.
    peak_memory_mb: of the GPU, or of the process.
    """

    seconds: float = 0.0
    image_gradients: int = 0
    peak_memory_mb: float = 0.0

    def to_json(self) -> dict[str, float]:
        return asdict(self)

    @staticmethod
    def from_json(values: dict[str, Any]) -> Spent:
        return Spent(**values)


@dataclass
class Logs:
    """Facts and epochs of the task that is being learned, as rows; they are stored together with its checkpoint."""

    facts: list[dict[str, Any]] = field(default_factory=list)
    training: list[dict[str, Any]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return {"facts": self.facts, "training": self.training}


class RunContext:
    """The context of one run.

    device: that networks and images are on.
    recipe: of the run.
    eps, exact_eps: of the preset, in pixel space [0, 1].
    spent: the cost so far.
    logs: facts and epochs of this turn.
    selected: the outcome of the last `train`; None before it.
    checkpoints: of the run.

    restores: True if a stored state is all that the method gets: its networks do not read pre-trained weights first.
    """

    def __init__(
        self,
        job: Job,
        device: torch.device,
        method: Method,
        store: RunStore,
        prerequisites: dict[str, Callable[[], Prerequisite]],
        listen: Listener,
        watch: Watch | None = None,
        restores: bool = False,
    ) -> None:
        self.job, self.device, self.recipe = job, device, job.recipe
        self.exact_eps: Fraction = job.preset.eps
        self.eps = float(job.preset.eps)
        self.spent = Spent()
        self.logs = Logs()
        self.selected: Selected | None = None
        self._method, self._store, self._prerequisites, self._listen = method, store, prerequisites, listen
        self._watch, self._restores = watch or Watch.none(), restores
        self.checkpoints = Checkpoints(store.directory / "checkpoints")
        self._stages: list[str] = []
        self._seconds_per_byte = 0.0
        self._turn, self._tasks, self._task_name, self._began = -1, 0, "", time.perf_counter()

    # -- what the harness calls -----------------------------------------------------------------------------------------

    def begin_turn(self, turn: int, tasks: int, name: str) -> None:
        """Begin a turn: the method is about to learn task `turn`, or all tasks if that is -1."""
        self._turn, self._tasks, self._task_name = turn, tasks, name
        self._stages, self.logs, self.selected = [], Logs(), None
        self._began = time.perf_counter()

    @property
    def turn(self) -> int:
        """Id of the task that is being learned; -1 before the first, and for a method that learns all at once."""
        return self._turn

    def end_turn(self) -> None:
        """End a turn: the method has learned."""
        self._count_time()
        self._record_watch()

    def _record_watch(self) -> None:
        """Record the notes of the watch so far. value: 1 if the process holds no test image, 0 otherwise."""
        text = json.dumps(self._watch.taken(), sort_keys=True)
        self.record_fact(LEARNING, "watched", float(self._watch.apart), self._turn, text)

    def _count_time(self) -> None:
        now = time.perf_counter()
        self.spent.seconds += now - self._began
        self._began = now

    def record_fact(self, phase: str, name: str, value: float | None, task: int, text: str | None = None) -> None:
        """Record a fact under any phase (`results/schema.py`). task: -1 for a fact of the whole run."""
        # JSON knows no NaN: a value that is not finite is stored as missing.
        number = None if value is None or not math.isfinite(value) else float(value)
        self.logs.facts.append({"task": task, "phase": phase, "name": name, "value": number, "text": text})

    @property
    def facts(self) -> RunContext:
        return self

    # -- what methods call ------------------------------------------------------------------------------------------------

    def rng(self, task: int, phase: str, purpose: str) -> torch.Generator:
        return self._generator(self.device, task, phase, purpose)

    def _generator(self, device: torch.device | str, task: int, phase: str, purpose: str) -> torch.Generator:
        text = f"{self.job.seed}\0{task}\0{phase}\0{purpose}"
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1
        return torch.Generator(device).manual_seed(seed)

    def network(self, stream: Stream, *, task: int = -1, mu: float = 1.0) -> MultiHead:
        chosen = self.job.preset.file.backbone
        backbone = chosen.build(stream.image_shape, mu)
        network = MultiHead(backbone, stream.class_counts, stream.mean, stream.std)
        initialise(network, self._generator("cpu", task, "init", "weights"))
        if not self._restores:
            with self._watch.harness():
                chosen.start(backbone)
        # Channels-last weights make every activation channels-last: a third faster here, the same mathematics.
        return network.to(self.device, memory_format=torch.channels_last)

    def record(
        self, name: str, value: float | None = None, *, task: int | None = None, text: str | None = None
    ) -> None:
        """Record a fact that the method reports of a task, by default of the one that it is learning."""
        self.record_fact(METHOD, name, value, self._turn if task is None else task, text)

    def stage(self, name: str, work: Callable[[], T]) -> T:
        if name in self._stages:
            raise MethodError(f"stage {name!r} stands twice in task {self._turn}; stages need different names")
        self._stages.append(name)
        key = f"task-{self._turn:03d}.stage-{len(self._stages):03d}-{name}"
        if key in self.checkpoints:
            try:
                with self._watch.harness():
                    stored = self.checkpoints.load(key, self.device)
            except StoreError as error:
                self._store.set_checkpoint_aside(key, str(error))
            else:
                self._method.load_state(State(stored.tensors, stored.values["method"]))
                self.spent = Spent.from_json(stored.values["spent"])
                self.logs = Logs(**stored.values["logs"])
                self._began = time.perf_counter()
                return stored.result
        began = time.perf_counter()
        result = work()
        took = time.perf_counter() - began
        self._count_time()
        state = self._method.state()
        self._record_watch()
        size = sum(tensor.nbytes for tensor in state.tensors.values())
        if self._is_worth_storing(took, size):
            values = {"method": state.values, "spent": self.spent.to_json(), "logs": self.logs.to_json()}
            began = time.perf_counter()
            with self._watch.harness(), purpose("write"):
                self.checkpoints.save(key, Checkpoint(state.tensors, values, result))
            self._seconds_per_byte = (time.perf_counter() - began) / max(1, size)
        return result

    def _is_worth_storing(self, took: float, size: int) -> bool:
        """True if a stage that took so many seconds is to be stored, as so many bytes; by what storing took the last time.

        On a GPU a stage of seconds leaves a network of a hundred megabytes behind.
        """
        storing = self._seconds_per_byte * size
        return storing <= max(CHEAP_SECONDS, MOST_SHARE * took)

    def validate(self, classifier: nn.Module, task: LearnTask) -> Validation:
        self.spent.image_gradients += len(task.validation) * self.recipe.selection.steps
        with purpose("validate"):
            return validate(classifier, task, self.recipe, self.exact_eps)

    def train(
        self, fit: Fit, tasks: list[LearnTask], *, phase: str = "train", recipe: Recipe | None = None
    ) -> Selected:
        chosen = recipe or self.recipe

        def on_epoch(epoch: Epoch) -> None:
            self._listen(self._event(phase, epoch, chosen))

        selected = train(
            fit, tasks, chosen, self.exact_eps, lambda purpose: self.rng(self._turn, phase, purpose), on_epoch
        )
        self.selected = selected
        self.spent.image_gradients += selected.image_gradients
        for name, value in (
            ("selected_epoch", selected.epoch),
            ("selected_clean", selected.validation.clean),
            ("selected_robust", selected.validation.robust),
            ("last_clean", selected.last.clean),
            ("last_robust", selected.last.robust),
        ):
            self.record_fact(phase, name, value, self._turn)
        if selected.collapsed is not None:
            text = "robust accuracy fell from one epoch to the next: the network of an epoch before was kept"
            self.record_fact(phase, "collapsed_epoch", selected.collapsed, self._turn, text)
        if self.device.type == "cuda":
            text = selected.why_plain or "steps were recorded once and repeated"
            self.record_fact(phase, "recorded_steps", selected.recordings, self._turn, text)
        self.logs.training += [
            {
                "task": self._turn,
                "phase": phase,
                "epoch": epoch.epoch,
                "loss": epoch.loss,
                "clean_train": epoch.clean_train,
                "robust_train": epoch.robust_train,
                "clean_validation": epoch.clean_validation,
                "robust_validation": epoch.robust_validation,
                "learning_rate": epoch.learning_rate,
                "seconds": epoch.seconds,
                "selected": epoch.epoch == selected.epoch,
            }
            for epoch in selected.epochs
        ]
        return selected

    def _event(self, phase: str, epoch: Epoch, recipe: Recipe) -> Event:
        return Event(
            job=self.job.hash,
            label=self.job.label,
            seed=self.job.seed,
            kind="epoch",
            task=max(self._turn, 0),
            tasks=self._tasks,
            task_name=self._task_name,
            phase=phase,
            epoch=epoch.epoch + 1,
            epochs=recipe.epochs,
            loss=epoch.loss,
            validation=epoch.robust_validation,
        )

    def prerequisite(self, spec: RunSpec) -> Prerequisite:
        if spec_key(spec) not in self._prerequisites:
            raise MethodError(f"prerequisite {spec.method} was not named in `requires`")
        with self._watch.harness():
            return _Watched(self._prerequisites[spec_key(spec)](), self._watch)


@dataclass(frozen=True)
class _Watched:
    """A finished run as a method is given it: the harness reads it, and that is not noted."""

    run: Prerequisite
    watch: Watch

    def fact(self, name: str, task: int) -> float:
        with self.watch.harness():
            return self.run.fact(name, task)

    def validation(self, task: int) -> Validation:
        with self.watch.harness():
            return self.run.validation(task)

    def classifier(self, task: int) -> nn.Module:
        with self.watch.harness():
            return self.run.classifier(task)
