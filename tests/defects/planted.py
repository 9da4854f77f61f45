"""The base of all planted defects: the honest networks of a finished run are handed out with one thing wrong.

Nothing is trained: a defect costs its evaluation alone, and it is found beside the same networks without it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from methods.backbones import BatchNorm, TaskNetwork
from methods.base import Context, MethodSettings, Prerequisite, RunSpec
from methods.strategies.network_per_task import NetworkPerTask
from methods.training import AdversarialTraining, Objective
from methods.training.recipe import Recipe
from scenarios.base import LearnTask, Stream
from scenarios.parts.augmentation import to_float

HONEST = RunSpec("single_task_at", weights=True)
"""The run whose networks they are: adversarially trained, one per task."""


class PlantedSettings(MethodSettings):
    """strength: in the units of the defect; its catalogue says what is full strength and what is weaker."""

    strength: float = Field(1.0)


class Planted(NetworkPerTask):
    """Base of the planted defects; a subclass changes the network that it hands out.

    logs: the network whose validation accuracy it logs when it selects. `handed out`: an author whose network carries the defect
    sees that number. `honest`: the defect lies between the network that was trained and the one that is handed out.
    """

    # The files of the plug-ins are part of a run's identity by themselves; this one is by its version.
    version = int(hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:7], 16) + 1
    claims: ClassVar[frozenset[str]] = frozenset()
    logs: ClassVar[Literal["handed out", "honest"]] = "handed out"
    Settings = PlantedSettings

    @classmethod
    def objective(cls, settings: MethodSettings) -> Objective:
        return AdversarialTraining()

    @classmethod
    def carrier(cls, settings: MethodSettings) -> RunSpec:
        """The run whose networks are handed out."""
        return HONEST

    @classmethod
    def requires(cls, settings: MethodSettings) -> list[RunSpec]:
        return [cls.carrier(settings)]

    @classmethod
    def passes(cls, settings: MethodSettings, recipe: Recipe) -> float:
        return 0.01

    def begin(self, stream: Stream, context: Context) -> None:
        super().begin(stream, context)
        self.eps = context.eps
        self.finished: dict[str, Prerequisite] = {}

    def network_of(self, spec: RunSpec, task: int, context: Context) -> TaskNetwork:
        """A task's network as a finished run hands it out."""
        if spec.method not in self.finished:
            self.finished[spec.method] = context.prerequisite(spec)
        network = self.finished[spec.method].classifier(task)
        assert isinstance(network, TaskNetwork)
        return network

    def learn(self, task: LearnTask, context: Context) -> None:
        honest = self.network_of(self.carrier(self.settings), task.id, context)
        self.networks[task.id] = honest
        asked = honest if self.logs == "honest" else self.classifier(task.id)
        validation = context.validate(asked, task)
        self.log(context, validation.clean, validation.robust)

    def log(self, context: Context, clean: float, robust: float) -> None:
        """Record the accuracy that the method says it reached on the validation images."""
        context.facts.record("selected_clean", clean)
        context.facts.record("selected_robust", robust)

    def classifier(self, task: int | None) -> nn.Module:
        assert task is not None
        return self.alter(self.networks[task].materialise(), task).eval().requires_grad_(False)

    def alter(self, network: TaskNetwork, task: int) -> nn.Module:
        """The module that is handed out instead of the task's honest network, which is the caller's own copy."""
        return network


class Around(nn.Module):
    """A network with something done to its images and to its logits. strength: as in the settings."""

    def __init__(self, network: TaskNetwork, strength: float = 0.0) -> None:
        super().__init__()
        self.network, self.strength = network, strength

    def before(self, images: Tensor) -> Tensor:
        return images

    def after(self, logits: Tensor) -> Tensor:
        return logits

    def forward(self, images: Tensor) -> Tensor:
        return self.after(self.network(self.before(images)))


def batch_norms(network: nn.Module) -> Iterator[tuple[str, BatchNorm]]:
    """Every batch norm of a network with its name, in the order of the layers."""
    for name, module in network.named_modules():
        if isinstance(module, BatchNorm):
            yield name, module


@torch.no_grad()
def move_statistics(network: TaskNetwork, task: LearnTask, momentum: float) -> None:
    """Move the running statistics of every batch norm towards those of a task's training images, once; weights stay, and so do
    the counts of batches, which would give it away whatever the momentum."""
    counts = {name: norm.num_batches_tracked.clone() for name, norm in batch_norms(network)}
    modes = {name: (norm.training, norm.momentum) for name, norm in batch_norms(network)}
    for _, norm in batch_norms(network):
        norm.training, norm.momentum = True, momentum
    network(to_float(task.train.images))
    for name, norm in batch_norms(network):
        norm.training, norm.momentum = modes[name]
        norm.num_batches_tracked.copy_(counts[name])
