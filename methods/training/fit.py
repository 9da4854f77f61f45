"""One training as a value: the network, what its optimisers move, and the callables in which methods differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from methods.training.inner_attack import Batch, InnerAttack, Logits
from methods.training.objectives import AdversarialTraining, Objective
from methods.training.recipe import Recipe
from methods.training.validation import Validation


@dataclass(frozen=True, slots=True)
class Step:
    """A step of training that was just made.

    number: of the training, from 1.
    epoch: from 0.
    per_epoch: how many steps an epoch has.
    optimizer: the recipe's.
    """

    number: int
    epoch: int
    per_epoch: int
    optimizer: torch.optim.Optimizer


@dataclass(frozen=True, slots=True)
class SecondOptimizer:
    """An optimiser beside the recipe's, for parameters that the recipe does not move.

    optimizer: it steps after the recipe's.
    rate: epoch (from 0) → its learning rate, set at the start of each epoch.
    """

    optimizer: torch.optim.Optimizer
    rate: Callable[[int], float]


@dataclass
class Fit:
    """One training, and the callables in which methods differ.

    network: its train or eval mode is switched, and its state is kept at the selected epoch.
    parameters: what the recipe's optimiser moves.
    validate: () → the network's outcomes on the validation split, as it stands.
    objective: what a step minimises; adversarial training if not given.
    logits: batch → the function from images to logits, asked for once per step; None: the network itself.
    after_backward: called before the optimisers step, for masks on gradients.
    after_step: called after they stepped, once per step and not once per attack step, for effective weights and cuts.
    second: an optimiser for parameters that the recipe's does not move.
    patience: training stops after so many validations without a better one; None: never.
    """

    network: nn.Module
    parameters: list[nn.Parameter]
    validate: Callable[[], Validation]
    objective: Objective = field(default_factory=AdversarialTraining)
    logits: Callable[[Batch], Logits] | None = None
    after_backward: Callable[[], None] | None = None
    after_step: Callable[[Step], None] | None = None
    second: SecondOptimizer | None = None
    patience: int | None = None

    def logits_of(self, batch: Batch) -> Logits:
        """The function from images to logits for a batch."""
        return self.logits(batch) if self.logits else self.network

    def step(self, batch: Batch, attack: InnerAttack, recipe: Recipe, step: Step) -> tuple[Tensor, Tensor]:
        """Make one training step on a batch: the loss (scalar) and the logits (N, classes), detached."""
        with autocast(recipe, batch.images.device):
            loss, output = self.objective.loss(self.logits_of(batch), batch, attack)
        step.optimizer.zero_grad(set_to_none=True)
        if self.second:
            self.second.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.objective.after_backward(attack)
        if self.after_backward:
            self.after_backward()
        step.optimizer.step()
        if self.second:
            self.second.optimizer.step()
        if self.after_step:
            self.after_step(step)
        return loss.detach(), output.detach()


def autocast(recipe: Recipe, device: torch.device) -> AbstractContextManager[object]:
    """The precision that a step of the recipe computes in."""
    if recipe.precision == "bf16":
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


def make_optimizer(parameters: Sequence[nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser. Weight decay is on weights only: biases and batch norm have one dimension."""
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if recipe.optimizer == "adam":
        return torch.optim.Adam(groups, lr=recipe.learning_rate)
    nesterov = recipe.nesterov and recipe.momentum > 0
    return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=nesterov)
