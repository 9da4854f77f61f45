"""The contract of a method: it learns task after task and hands back classifiers. It never sees test images or attacks' results.

What the harness gives it is the `Context`; what it gives back are plain `nn.Module`s from images in [0, 1] to logits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, ClassVar, Protocol, TypeVar

import torch
from torch import Tensor, nn

from methods.backbones import MultiHead
from methods.settings import MethodSettings as MethodSettings
from methods.training import Fit, Selected, Validation
from methods.training.recipe import Recipe
from scenarios.base import LearnTask, Stream

JSON = Any
T = TypeVar("T", bound=JSON)


NEEDS = {
    "validation": "validation images to decide by",
    "all_tasks": "all tasks at once",
    "image_memory": "images of old tasks",
    "extra_data": "extra data",
}
"""What a method may need, beyond a task's training images and the choice of an epoch: the word and what it says to people."""
CLAIMS = {"unforgetting": "does not forget"}
"""What a method may claim of itself."""


class MethodError(Exception):
    """A method cannot do what it was asked for; the message is one line with what would be right."""


@dataclass(frozen=True, slots=True)
class State:
    """Everything a method needs to go on from here, as tensors and JSON: weights, memory, random states."""

    tensors: dict[str, Tensor]
    values: dict[str, JSON] = field(default_factory=dict)

    def under(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names start with `prefix`, without it."""
        return {name[len(prefix) :]: tensor for name, tensor in self.tensors.items() if name.startswith(prefix)}


@dataclass(frozen=True)
class RunSpec:
    """A run that another one needs first: `method` by name with `settings`; the seed is the same.

    weights: whether its classifiers are needed too, or only what it recorded. scenario: None: the same, and the same recipe; or
    another one, as a preset writes it ({name: ..., tasks: ...}), learned with the preset's recipe: extra data.
    """

    method: str
    settings: Mapping[str, JSON] = field(default_factory=dict)
    weights: bool = False
    scenario: Mapping[str, JSON] | None = None


class Prerequisite(Protocol):
    """What `Context.prerequisite` gives: the records of a finished run and, where `weights` was asked for, its classifiers."""

    def fact(self, name: str, task: int) -> float: ...

    def validation(self, task: int) -> Validation:
        """What its classifier of a task got right on the validation images: the same images, starts and attack as in
        `Context.validate`. Raises MethodError if that is not stored."""

    def classifier(self, task: int) -> nn.Module: ...


class Facts(Protocol):
    def record(
        self, name: str, value: float | None = None, *, task: int | None = None, text: str | None = None
    ) -> None:
        """Record a number or a text that the method reports of a task (by default the one being learned)."""


class Context(Protocol):
    """What the harness offers to a method while it learns. eps, exact_eps: of the preset, in pixel space."""

    device: torch.device
    recipe: Recipe
    eps: float
    exact_eps: Fraction

    @property
    def facts(self) -> Facts: ...

    def rng(self, task: int, phase: str, purpose: str) -> torch.Generator:
        """A generator on the device that depends on the run's seed and these words only, however often a run was resumed."""

    def network(self, stream: Stream, *, task: int = -1, mu: float = 1.0) -> MultiHead:
        """A freshly initialised network of the preset's backbone with a head per task of the stream, on the device.

        task: the networks of different tasks are initialised differently; mu: times as many parameters, for methods that grow."""

    def stage(self, name: str, work: Callable[[], T]) -> T:
        """Run `work` and checkpoint the method's state under `name`, or restore both if that was done before.

        Returns what `work` returned (JSON). Stages of one task must have different names and a fixed order.
        """

    def validate(self, classifier: nn.Module, task: LearnTask) -> Validation:
        """Clean and robust accuracy on the validation split, under one fixed attack: what all decisions are made by."""

    def train(
        self, fit: Fit, tasks: list[LearnTask], *, phase: str = "train", recipe: Recipe | None = None
    ) -> Selected:
        """The shared adversarial training loop (`methods.training.train`), logged under `phase`."""

    def prerequisite(self, spec: RunSpec) -> Prerequisite:
        """A finished run that `requires` named. Raises MethodError for any other."""


class Method(ABC):
    """A continual defense. The constructor only stores settings; learning happens in `learn`.

    version: raised on purpose whenever the same settings would learn something else.
    claims: of `CLAIMS`, what the harness checks ("unforgetting": no classifier of an old task ever changes).
    needs: of `NEEDS`.
    paper: where it comes from.
    """

    version: ClassVar[int]
    claims: ClassVar[frozenset[str]] = frozenset()
    needs: ClassVar[frozenset[str]] = frozenset()
    paper: ClassVar[str] = ""
    Settings: ClassVar[type[MethodSettings]] = MethodSettings

    def __init__(self, settings: MethodSettings) -> None:
        self.settings: Any = settings

    def claimed(self) -> frozenset[str]:
        """What this instance claims: `claims`, unless its settings take something back."""
        return self.claims

    @classmethod
    def requires(cls, settings: MethodSettings) -> list[RunSpec]:
        """Runs that must be finished first; run once and shared by all that need them."""
        return []

    @classmethod  # noqa: B027 - most fit every network
    def check(cls, settings: MethodSettings, network: MultiHead) -> None:
        """Raise MethodError where the settings cannot go with this network, before anything is trained.

        network: the preset's backbone with the stream's heads, on the meta device: shapes and no values."""

    @classmethod
    def epochs(cls, settings: MethodSettings, recipe: Recipe) -> float:
        """Epochs of training per task, at most, all stages together, for estimates of time."""
        return recipe.epochs

    @classmethod
    def passes(cls, settings: MethodSettings, recipe: Recipe) -> float:
        """Forward-sized passes per training image and epoch, for estimates of time: a PGD-k step costs 2k + 3."""
        return 2 * recipe.attack.steps + 3

    @abstractmethod
    def begin(self, stream: Stream, context: Context) -> None:
        """Make what is needed before the first task."""

    def learn(self, task: LearnTask, context: Context) -> None:
        """Learn the next task."""
        raise MethodError(f"{type(self).__name__} learns all tasks at once")

    def learn_all(self, tasks: list[LearnTask], context: Context) -> None:
        """Learn all tasks at once; called instead of `learn` where "all_tasks" is in `needs`."""
        raise MethodError(f"{type(self).__name__} learns task after task")

    @abstractmethod
    def classifier(self, task: int | None) -> nn.Module:
        """The classifier of a learned task: eval mode, frozen, its own copy; images float (N, C, H, W) in [0, 1] → logits
        (N, classes of this task). None: all classes seen, task inference included (reserved)."""

    @abstractmethod
    def state(self) -> State: ...

    @abstractmethod
    def load_state(self, state: State) -> None:
        """Take over a state; `begin` was called before."""
