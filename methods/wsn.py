"""WSN, winning subnetworks, trained adversarially: scores choose each task's weights of one network (Kang et al. 2022).

Forget-free Continual Learning with Winning Subnetworks, algorithm 1. Weights and scores are drawn once. Each step of a task uses
the share `capacity` of every layer that has the highest scores. Weights that an earlier task ended with may be chosen and do not
move; the other chosen ones are trained, and the scores are, through the choice (straight-through). Scores go on from task to
task.

Deviations:

- Batch norm, biases and head are each task's own. The released code has no biases, and normalises by the batch at test time.
- A task keeps the choice of its kept epoch, by which it was validated. The released code keeps that of the last training batch,
  one step old, whatever epoch's weights it goes back to.
- Weights move by the recipe's optimiser, scores by Adam, whose rate is cut where the recipe's is; published: one Adam for both,
  at 1e-3, halved where validation does not improve.
- Masks are stored as a bit per weight and task, not Huffman-coded.
- Steps are made under the attack, which sees the task's chosen weights.
"""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor

from methods.base import Context, MethodSettings, State
from methods.parts.packing.scored import ScoredSubnetwork
from methods.parts.packing.subnetwork import Subnetwork
from methods.strategies.packed import PackedMethod
from methods.training import TrainedBy
from scenarios.base import LearnTask, Stream


class WSNSettings(MethodSettings, TrainedBy):
    """Defaults: the paper's best for 10-split CIFAR-100 (table 2), published with no weight decay and batch 64."""

    capacity: float = Field(
        0.5,
        gt=0,
        le=1,
        description="share of each layer's weights that a task uses (c in the paper); published .03 to .5, TinyImageNet .1",
    )
    score_rate: float = Field(1e-3, gt=0, description="Adam, for the scores; cut where the recipe cuts its own")


class WSN(PackedMethod):
    """One network of which scores choose a part for each task; weights that a task has chosen never move again."""

    version = 1
    paper = "Kang et al. 2022, Forget-free Continual Learning with Winning Subnetworks"
    Settings = WSNSettings

    scores: dict[str, Tensor]

    def begin(self, stream: Stream, context: Context) -> None:
        super().begin(stream, context)
        generator = context.rng(-1, "init", "scores")
        self.scores = {name: _drawn(weight, generator) for name, weight in self.packed.weights.items()}

    def learn(self, task: LearnTask, context: Context) -> None:
        recipe = context.recipe
        network = self.scored(task.id, context)
        share = self.settings.score_rate / recipe.learning_rate
        second = network.learn_scores(lambda epoch: share * recipe.rate(epoch))
        self.learn_part(network, task, context, phase="train", recipe=recipe, second=second)
        self.record_capacity(task.id, context)
        self.record_structure(task.id, "train", context)

    def scored(self, task: int, context: Context) -> ScoredSubnetwork:
        """The task's network before it is learned."""
        plain = self.subnetwork(task, context.recipe)
        return ScoredSubnetwork(
            plain,
            self.packed,
            task,
            self.scores,
            capacity=self.settings.capacity,
            weight_decay=context.recipe.weight_decay,
        )

    def keep(self, network: Subnetwork, task: int) -> None:
        assert isinstance(network, ScoredSubnetwork)
        self.packed.choose(task, dict(zip(network.shared, network.latent, strict=True)), network.chosen)
        self.scores = {name: score.detach().clone() for name, score in zip(network.shared, network.scores, strict=True)}
        for name, own in network.own.items():
            own.copy_(self.packed.owned(name, task))
        super().keep(network, task)

    # -- what the harness asks for ----------------------------------------------------------------------------------------

    def state(self) -> State:
        state = super().state()
        return State(state.tensors | {f"score.{name}": score for name, score in self.scores.items()}, state.values)

    def load_state(self, state: State) -> None:
        super().load_state(state)
        for name, score in state.under("score.").items():
            self.scores[name].copy_(score)


def _drawn(weight: Tensor, generator: torch.Generator) -> Tensor:
    """Scores of a layer's weights, uniform up to 1/sqrt(inputs of an output): torch's start of a linear layer, as published."""
    bound = 1 / math.sqrt(weight[0].numel())
    return torch.empty_like(weight).uniform_(-bound, bound, generator=generator)
