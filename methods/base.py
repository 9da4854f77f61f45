"""The contract of a method: it learns task after task and hands back classifiers.

A method never sees test images or results of attacks. The harness gives it a `Context`; it gives back plain `nn.Module`s from
images in [0, 1] to logits. A plug-in imports from here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, ClassVar, Protocol, TypeVar

import torch
from torch import Tensor, nn

from methods.backbones import MultiHead
from methods.settings import MethodSettings
from methods.training import Fit, Recipe, Selected, Validation
from scenarios.base import LearnTask, Stream, StreamProtocol

__all__ = [
    "CLAIMS",
    "JSON",
    "NEEDS",
    "Context",
    "Facts",
    "Method",
    "MethodError",
    "MethodSettings",
    "Prerequisite",
    "RunSpec",
    "State",
]

JSON = Any
T = TypeVar("T", bound=JSON)

NEEDS = {
    "validation": "validation images to decide by",
    "all_tasks": "all tasks at once",
    "image_memory": "images of old tasks",
    "extra_data": "extra data",
}
"""Needs beyond a task's training images and the choice of an epoch: the word in `Method.needs` → the word for people."""

CLAIMS = {"unforgetting": "does not forget"}
"""Claims that a method may make of itself: the word in `Method.claims` → the word for people."""


class MethodError(Exception):
    """A method cannot do what it was asked for; the message is one line that says what would be right."""


@dataclass(frozen=True, slots=True)
class State:
    """Everything a method needs to go on from here: weights, memory, random states.

    tensors: by name, of any shape and type.
    values: by name, anything that is JSON.
    """

    tensors: dict[str, Tensor]
    values: dict[str, JSON] = field(default_factory=dict)

    def under(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names start with `prefix`, without it."""
        return {name[len(prefix) :]: tensor for name, tensor in self.tensors.items() if name.startswith(prefix)}


@dataclass(frozen=True)
class RunSpec:
    """A run that another one needs first. Its seed is the other one's.

    method: by name.
    settings: those that differ from the method's defaults.
    weights: True if its classifiers are needed too, False if only what it recorded.
    scenario: None for the same stream and recipe; or another stream as a preset writes it ({name: ..., tasks: ...}), learned with
        the preset's recipe: extra data.
    """

    method: str
    settings: Mapping[str, JSON] = field(default_factory=dict)
    weights: bool = False
    scenario: Mapping[str, JSON] | None = None


class Prerequisite(Protocol):
    """A finished run that another one needs: its records and, if `RunSpec.weights` asked for them, its classifiers."""

    def fact(self, name: str, task: int) -> float:
        """A number that the run recorded of a task, by the name of the fact; the last one recorded.

        Raises MethodError if there is none.
        """

    def validation(self, task: int) -> Validation:
        """The validation images of a task that its classifier got right: images, starts and attack as in `Context.validate`.

        Raises MethodError if that is not stored.
        """

    def classifier(self, task: int) -> nn.Module:
        """A task's classifier, as `Method.classifier` gives it after the last task. Raises MethodError without a checkpoint."""


class Facts(Protocol):
    """The numbers and texts that a method reports."""

    def record(
        self, name: str, value: float | None = None, *, task: int | None = None, text: str | None = None
    ) -> None:
        """Record a number, a text or both under a name. task: the task they are of; None: the one being learned."""


class Context(Protocol):
    """The harness as a method sees it while it learns.

    device: of all images, networks and generators.
    recipe: the preset's training recipe.
    eps, exact_eps: radius of the training attack in pixels of [0, 1], as a float and as an exact number.
    """

    device: torch.device
    recipe: Recipe
    eps: float
    exact_eps: Fraction

    @property
    def facts(self) -> Facts:
        """The place where the method records what it reports."""

    def rng(self, task: int, phase: str, purpose: str) -> torch.Generator:
        """A generator on the device. It depends on the run's seed and these words only, however often a run was resumed."""

    def network(self, stream: Stream, *, task: int = -1, mu: float = 1.0) -> MultiHead:
        """A freshly initialised network of the preset's backbone with a head per task of the stream, on the device.

        task: the networks of different tasks are initialised differently.
        mu: times as many parameters, for methods that grow.
        """

    def stage(self, name: str, work: Callable[[], T]) -> T:
        """Run `work` and checkpoint the method's state, or restore both if that was done before. Returns what `work` returned.

        A stage that is over sooner than its state can be stored may be run again after a kill.
        name: of the stage; stages of one task have different names and a fixed order.
        work: returns JSON.
        """

    def validate(self, classifier: nn.Module, task: LearnTask) -> Validation:
        """The outcomes on a task's validation split, clean and under one fixed attack: what all decisions are made by."""

    def train(
        self, fit: Fit, tasks: list[LearnTask], *, phase: str = "train", recipe: Recipe | None = None
    ) -> Selected:
        """Train by the shared loop (`methods.training.train`).

        tasks: whose training images are used, mixed.
        phase: the name under which the epochs are logged.
        recipe: None: the preset's.
        """

    def prerequisite(self, spec: RunSpec) -> Prerequisite:
        """A finished run that `Method.requires` named. Raises MethodError for any other."""


class Method(ABC):
    """A continual defense. The constructor only stores settings; learning happens in `learn`.

    version: raised on purpose whenever the same settings would learn something else.
    claims: words of `CLAIMS`, which the harness holds it to ("unforgetting": no classifier of an old task ever changes).
    needs: words of `NEEDS`.
    protocols: the questions that its classifiers can answer (`Stream.protocol`).
    paper: author, year and title of the paper it comes from; empty for none.
    Settings: its settings, a `MethodSettings` with the sources of its defaults.
    """

    version: ClassVar[int]
    claims: ClassVar[frozenset[str]] = frozenset()
    needs: ClassVar[frozenset[str]] = frozenset()
    protocols: ClassVar[frozenset[StreamProtocol]] = frozenset({"task"})
    paper: ClassVar[str] = ""
    Settings: ClassVar[type[MethodSettings]] = MethodSettings

    def __init__(self, settings: MethodSettings) -> None:
        self.settings: Any = settings

    def claimed(self) -> frozenset[str]:
        """The claims of this instance: `claims`, unless its settings take something back."""
        return self.claims

    @classmethod
    def can_answer(cls, settings: MethodSettings) -> frozenset[StreamProtocol]:
        """The questions that its classifiers can answer with these settings: `protocols`, unless they take one back."""
        return cls.protocols

    @classmethod
    def requires(cls, settings: MethodSettings) -> list[RunSpec]:
        """Runs that must be finished first. Each is run once and shared by all that need it."""
        return []

    @classmethod  # noqa: B027 - most fit every network
    def check(cls, settings: MethodSettings, network: MultiHead) -> None:
        """Raise MethodError if the settings do not go with this network, before anything is trained.

        network: the preset's backbone with the stream's heads, on the meta device: shapes and no values.
        """

    @classmethod  # noqa: B027 - most fit every stream
    def check_data(cls, settings: MethodSettings, train_counts: Sequence[int]) -> None:
        """Raise MethodError if the settings do not go with this stream, before anything is trained.

        train_counts: training images of each task.
        """

    @classmethod
    def epochs(cls, settings: MethodSettings, recipe: Recipe) -> float:
        """The most epochs of training per task, all stages together, for estimates of time."""
        return recipe.epochs

    @classmethod
    def passes(cls, settings: MethodSettings, recipe: Recipe) -> float:
        """Forward-sized passes per training image and epoch, for estimates of time: a PGD-k step costs 2k + 3."""
        return 2 * recipe.attack.steps + 3

    @abstractmethod
    def begin(self, stream: Stream, context: Context) -> None:
        """Make what is needed before the first task.

        stream: names, class counts, image shape and normalisation of all tasks; never images of later ones.
        """

    def learn(self, task: LearnTask, context: Context) -> None:
        """Learn the next task."""
        raise MethodError(f"{type(self).__name__} learns all tasks at once")

    def learn_all(self, tasks: list[LearnTask], context: Context) -> None:
        """Learn all tasks at once; called instead of `learn` if "all_tasks" is in `needs`."""
        raise MethodError(f"{type(self).__name__} learns task after task")

    @abstractmethod
    def classifier(self, task: int | None) -> nn.Module:
        """The classifier of a learned task: images float (N, C, H, W) in [0, 1] → logits float (N, classes of this task).

        It is in eval mode, frozen, and a copy of its own: later learning does not change it.

        task: from 0. None: the classifier of all classes seen so far, in the order of learning. Under protocol `class`
            nothing else is asked for.
        """

    @abstractmethod
    def state(self) -> State:
        """Everything that is needed to go on from here, and to hand out the same classifiers."""

    @abstractmethod
    def load_state(self, state: State) -> None:
        """Take over what `state` gave; `begin` was called before."""
