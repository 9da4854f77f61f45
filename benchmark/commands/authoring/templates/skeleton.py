"""The idea of the method, in one line. `python run_benchmark.py check FILE` tries its contract.

This file is meant to be changed. So far it is adversarial training, task after task, that learns slower after the first task.
"""

from __future__ import annotations

from pydantic import Field
from torch import nn

from methods.backbones import MultiHead
from methods.base import Context, Method, MethodSettings, State
from methods.training import Fit
from scenarios.base import LearnTask, Stream


class SkeletonSettings(MethodSettings):
    """The settings that a preset or `--set` may change, each with a type and a default."""

    later_rate: float = Field(
        0.5, gt=0, le=1, description="learning rate after the first task, in units of the recipe's"
    )


class Skeleton(Method):
    """One network with a head per task; later tasks change the shared weights more slowly. (`list` shows this line.)"""

    version = 1  # raise it whenever the same settings would learn something else: old results then count as superseded
    paper = "Author et al. 2026, Title"  # the source of the idea
    claims = frozenset()  # {"unforgetting"} if no later task ever changes an old classifier: the harness proves it
    Settings = SkeletonSettings

    def begin(self, stream: Stream, context: Context) -> None:
        # `stream` has names and sizes of all tasks, no images. The network is the preset's, initialised from the run's seed.
        self.network: MultiHead = context.network(stream)

    def learn(self, task: LearnTask, context: Context) -> None:
        # Learn from task.train, decide on task.validation. Random numbers come from context.rng alone.
        network = self.network.for_task(task.id)
        recipe = context.recipe
        if task.id > 0:
            recipe = recipe.model_copy(update={"learning_rate": recipe.learning_rate * self.settings.later_rate})
        # A Fit says which weights are trained and how they are validated. `objective` changes the loss, `after_backward` the
        # gradients, `after_step` the weights (methods/training/fit.py). Attack, epochs and best epoch are the recipe's.
        fit = Fit(network, list(network.parameters()), lambda: context.validate(network, task))
        context.train(fit, [task], recipe=recipe)

    def classifier(self, task: int | None) -> nn.Module:
        # From images in [0, 1] to logits of this task's classes: a copy, frozen, in eval mode.
        assert task is not None
        return self.network.for_task(task).materialise()

    def state(self) -> State:
        # Everything that classifiers and further learning need: tensors by name, and JSON.
        return State(dict(self.network.state_dict()))

    def load_state(self, state: State) -> None:
        # `begin` was called before.
        self.network.load_state_dict(state.tensors)
