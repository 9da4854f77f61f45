"""Rehearsal: one network that learns task after task beside images of old tasks, which it keeps in a reservoir."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from pydantic import Field, model_validator

from methods.backbones import TaskNetwork
from methods.base import Context, MethodError, MethodSettings, State
from methods.parts.image_memory import Reservoir
from methods.parts.replay import Replay
from methods.strategies.one_network import OneNetwork, OneNetworkSettings
from methods.training import Fit, Recipe, TrainedBy
from scenarios.base import LearnTask, Stream
from scenarios.parts.augmentation import Size


class KeepingSettings(OneNetworkSettings, TrainedBy):
    """Settings of every method that keeps images of old tasks."""

    capacity: int = Field(200, ge=0, description="images of old tasks that are kept, of all tasks together")

    @model_validator(mode="after")
    def _check_batch_norm(self) -> KeepingSettings:
        if self.per_task_bn:
            raise ValueError(
                "per_task_bn = true: images of all tasks go through one batch norm, so no task has its own; leave it false"
            )
        return self


class RehearsalSettings(KeepingSettings):
    """Settings of every method that replays kept images.

    Defaults: a memory of 200 images and as many old images as new ones in a step, as in the smallest setting of Buzzega et al.
    2020 (table 2, S-CIFAR-10; released code: minibatch 32 beside batch 32).
    """

    replay: float = Field(1.0, gt=0, description="old images in a step for each new one")

    @model_validator(mode="after")
    def _check_training(self) -> RehearsalSettings:
        if self.training.name == "free":
            raise ValueError(
                "training = free trains on a minibatch several times under one perturbation, while replay draws other old images "
                "in every step; choose clean, madry, trades, fast or igr"
            )
        return self


class KeepsImages(OneNetwork):
    """One network, and a memory of images of old tasks, which is part of its state."""

    needs = frozenset({"image_memory"})
    Settings = KeepingSettings

    @classmethod
    def check_data(cls, settings: MethodSettings, train_counts: Sequence[int]) -> None:
        assert isinstance(settings, KeepingSettings)
        if settings.capacity > sum(train_counts):
            raise MethodError(
                f"capacity = {settings.capacity}: all tasks together have {sum(train_counts)} training images; keep at most "
                "so many"
            )

    @property
    def size(self) -> Size:
        """(height, width) of what the network sees."""
        return self.stream.image_shape[-2], self.stream.image_shape[-1]

    def with_heads_of(self, fit: Fit, network: TaskNetwork, tasks: Sequence[int]) -> Fit:
        """The training of one task's network as one of the whole network, with the heads of other tasks.

        network: what the task that is learned is asked by; the batches of the stream go through it.
        tasks: old ones, whose heads are trained too.
        """
        mine = {id(parameter) for parameter in fit.parameters}
        heads = [parameter for task in tasks for parameter in self.network.heads[task].parameters()]
        parameters = [*fit.parameters, *(parameter for parameter in heads if id(parameter) not in mine)]
        # The heads of old tasks move, so they too are those of the kept epoch afterwards.
        return replace(fit, network=self.network, parameters=parameters, logits=lambda batch: network)


class Rehearsal(KeepsImages):
    """Every step of a later task is made on a batch of its own and on images drawn from a reservoir of the tasks before.

    Each training image of a task is offered to the reservoir once, in a random order, when the task has been learned. So the
    memory stays as it is while a task is learned, which a recorded step needs, and none of its own images are replayed.
    Published code offers images while it learns them, once in each epoch: it replays those of the task at hand too, and its
    reservoir counts visits and not images.

    A subclass says what a step minimises, and what else is done in it (`replaying`).

    memory: the reservoir.
    least_drawn: images that a step draws at least.
    """

    Settings = RehearsalSettings
    least_drawn: ClassVar[int] = 1

    memory: Reservoir

    @classmethod
    def passes(cls, settings: MethodSettings, recipe: Recipe) -> float:
        assert isinstance(settings, RehearsalSettings)
        return super().passes(settings, recipe) * (1 + settings.replay)

    @abstractmethod
    def replaying(self, fit: Fit, replay: Replay) -> Fit:
        """The training with an objective that replays, around `fit.objective`.

        fit: of the network with the heads of all tasks in the memory.
        """

    def begin(self, stream: Stream, context: Context) -> None:
        super().begin(stream, context)
        self.memory = Reservoir(self.settings.capacity)

    def fit(self, network: TaskNetwork, task: LearnTask, context: Context) -> Fit:
        fit, kept = super().fit(network, task, context), self.memory.kept
        if kept is None:
            return fit
        recipe = fit.objective.recipe(context.recipe)
        generators = (
            context.rng(task.id, "replay", "images"),
            context.rng(task.id, "replay", "augmentation"),
        )
        # A head of which no image is left is not trained: it would only decay.
        fit = self.with_heads_of(fit, network, sorted(set(kept.tasks.tolist())))
        replay = Replay(kept, self.settings.replay, recipe.augmentation, self.size, generators, self.least_drawn)
        return replace(self.replaying(fit, replay), generators=[*fit.generators, *generators])

    def consolidate(self, task: LearnTask, context: Context) -> None:
        self.offer(task, context)
        context.facts.record("memory_images", len(self.memory))

    def offer(self, task: LearnTask, context: Context) -> None:
        """Offer the training images of a task to the memory."""
        self.memory.offer(task.train, task.id, context.rng(task.id, "memory", "reservoir"))

    def state(self) -> State:
        state = super().state()
        kept = {f"memory.{name}": tensor for name, tensor in self.memory.tensors().items()}
        return State(state.tensors | kept, state.values | {"seen": self.memory.seen})

    def load_state(self, state: State) -> None:
        super().load_state(state)
        self.memory.load(state.under("memory."), state.values["seen"])
