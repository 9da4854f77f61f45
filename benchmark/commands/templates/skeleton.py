"""What the method is about, in one line. `python run_benchmark.py check` says whether it keeps its contract.

Written to be changed: what stands here is plain adversarial training, task after task, that learns slower after the first task.
"""

from __future__ import annotations

from pydantic import Field
from torch import nn

from methods.backbones import MultiHead
from methods.base import Context, Method, MethodSettings, State
from methods.training import Fit
from scenarios.base import LearnTask, Stream


class SkeletonSettings(MethodSettings):
    """What a preset or `--set` may change, typed and with a default each."""

    later_rate: float = Field(
        0.5, gt=0, le=1, description="learning rate after the first task, in units of the recipe's"
    )


class Skeleton(Method):
    """One network, a head per task; later tasks move what is shared more slowly. (This line is what `list` shows.)"""

    version = 1  # raise it whenever the same settings would learn something else: old results then count as superseded
    paper = "Author et al. 2026, Title"  # where the idea comes from
    claims = frozenset()  # {"unforgetting"} if no later task ever changes an old classifier: the harness proves it
    Settings = SkeletonSettings

    def begin(self, stream: Stream, context: Context) -> None:
        # Names and sizes of all tasks, no images. The network is the preset's backbone, initialised from the run's seed.
        self.network: MultiHead = context.network(stream)

    def learn(self, task: LearnTask, context: Context) -> None:
        # task.train and task.validation; every decision is made on validation. Random numbers come from context.rng alone.
        network = self.network.for_task(task.id)
        recipe = context.recipe
        if task.id > 0:
            recipe = recipe.model_copy(update={"learning_rate": recipe.learning_rate * self.settings.later_rate})
        # What is trained, and how it is validated. Change the loss with `objective`, gradients with `after_backward`, weights
        # with `after_step` (methods/training/fit.py); the attack, the epochs and the selection of the best one are the recipe's.
        fit = Fit(network, list(network.parameters()), lambda: context.validate(network, task))
        context.train(fit, [task], recipe=recipe)

    def classifier(self, task: int | None) -> nn.Module:
        # Images in [0, 1] → logits of this task's classes: a copy, frozen, in eval mode.
        assert task is not None
        return self.network.for_task(task).materialise()

    def state(self) -> State:
        # Everything that classifiers are made of and that learning goes on with: tensors by name, JSON beside them.
        return State(dict(self.network.state_dict()))

    def load_state(self, state: State) -> None:
        # `begin` was called before.
        self.network.load_state_dict(state.tensors)
