"""One network whose weights are held near where the tasks before left them: what EWC and SI share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from methods.backbones import BatchNorm, TaskNetwork
from methods.base import Context, State
from methods.parts.consolidation.penalties import PenalisedObjective, QuadraticPenalty
from methods.strategies.one_network import OneNetwork
from methods.training import Fit
from scenarios.base import LearnTask, Stream


class AnchoredNetwork(OneNetwork):
    """A penalty of ½ · k · (θ - θ*)² on each weight that tasks share, θ* from the kept epoch of the task before.

    A subclass says how important weights are (`consolidate`) and how stiffly that holds them (`stiffness`). No weight is held
    more stiffly than 1 / learning rate, with which one step of plain SGD takes it back to θ*: from 1.36 of that on, SGD with
    Nesterov's momentum 0.9 swings away from it and diverges. So a strength says how many weights stand still, and none is too
    large.

    importance: float tensors by name of the parameter (in `asked`), like it, 0 or more; empty before a task was learned.

    Shared are the backbone's weights, batch norm's among them unless it is a task's own, and under protocol `class` all heads so
    far. Running statistics of batch norm are no weights: nothing holds them.
    """

    importance: dict[str, Tensor]

    def begin(self, stream: Stream, context: Context) -> None:
        super().begin(stream, context)
        self.importance = {}

    @abstractmethod
    def stiffness(self, importance: Tensor) -> Tensor:
        """k of a parameter, from its importance: float tensors alike."""

    def shared(self, network: TaskNetwork) -> dict[str, nn.Parameter]:
        """The parameters of a network that other tasks will move, by name."""
        own = set(_of_batch_norm(network)) if self.settings.per_task_bn else set()
        if self.stream.protocol == "task":
            own |= {f"head.{name}" for name, _ in network.head.named_parameters()}
        return {name: parameter for name, parameter in network.named_parameters() if name not in own}

    def fit(self, network: TaskNetwork, task: LearnTask, context: Context) -> Fit:
        fit = super().fit(network, task, context)
        penalty = self.penalty(network, context)
        return fit if penalty is None else replace(fit, objective=PenalisedObjective(fit.objective, penalty))

    def penalty(self, network: TaskNetwork, context: Context) -> QuadraticPenalty | None:
        """The penalty on a network that stands where the task before left it; None if nothing was learned yet."""
        if not self.importance:
            return None
        # In the network's order: a state may come back in another one, and sums would differ in their last bits.
        held = {name: parameter for name, parameter in network.named_parameters() if name in self.importance}
        most = 1 / context.recipe.learning_rate
        return QuadraticPenalty(
            list(held.values()), [self.stiffness(self.importance[name]).clamp(max=most) for name in held]
        )

    def remember(self, importance: Mapping[str, Tensor], context: Context) -> None:
        """Take over the importance of all tasks so far, and record its mean and its largest entry."""
        self.importance = dict(importance)
        entries = torch.cat([tensor.flatten() for tensor in self.importance.values()])
        context.facts.record("importance_mean", float(entries.mean()))
        context.facts.record("importance_largest", float(entries.max()))

    def state(self) -> State:
        state = super().state()
        state.tensors.update({f"importance.{name}": tensor for name, tensor in self.importance.items()})
        return state

    def load_state(self, state: State) -> None:
        super().load_state(state)
        self.importance = state.under("importance.")


def _of_batch_norm(network: nn.Module) -> Iterator[str]:
    """Names of the parameters of every batch norm."""
    for name, module in network.named_modules():
        if isinstance(module, BatchNorm):
            yield from (f"{name}.{own}" for own, _ in module.named_parameters(recurse=False))
