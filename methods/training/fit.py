"""One training as a value: the network, what its optimisers move, and the callables in which methods differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from methods.backbones.recomputation import recomputing
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


@dataclass(frozen=True)
class Fit:
    """One training, and the callables in which methods differ. `dataclasses.replace` makes another one of it.

    network: its train or eval mode is switched, and its state is kept at the selected epoch.
    parameters: what the recipe's optimiser moves.
    validate: () → the network's outcomes on the validation split, as it stands.
    objective: what a step minimises; adversarial training if not given.
    logits: batch → the function from images to logits, asked for once per step, or once per part of it; None: the network itself.
    after_backward: called once per step, before the optimisers step, for masks on gradients.
    after_step: called after they stepped, once per step and not once per attack step, for effective weights and cuts.
    second: an optimiser for parameters that the recipe's does not move.
    patience: training stops after so many validations without a better one; None: never.
    generators: those that `logits` or the network draw from in a step, beside the objective's and the attack's.
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
    generators: Sequence[torch.Generator] = ()

    def logits_of(self, batch: Batch) -> Logits:
        """The function from images to logits for a batch."""
        return self.logits(batch) if self.logits else self.network

    def move(
        self, batch: Batch, attack: InnerAttack, recipe: Recipe, optimizer: torch.optim.Optimizer
    ) -> tuple[Tensor, Tensor]:
        """Move the parameters by one step on a batch: its loss (scalar) and its logits (N, classes), detached.

        It may be recorded once and repeated (`methods/training/captured.py`), so nothing in it waits for the device, and what a
        callable decides in it is decided for all steps.

        optimizer: the recipe's.

        The step goes in parts of `recipe.micro_batch` images: a part is attacked, and its gradients are added, before another
        begins. They add up to the gradient of the mean loss over the batch.
        """
        losses: list[Tensor] = []
        outputs: list[Tensor] = []
        for part in batch.parts(recipe.micro_batch):
            with autocast(recipe, batch.images.device), remembering(recipe, self.network):
                loss, output = self.objective.loss(self.logits_of(part), part, attack)
            if not losses:
                self.clear_gradients(optimizer)
            loss = loss * (len(part.labels) / len(batch.labels))
            loss.backward()
            self.objective.after_backward(attack)
            losses.append(loss.detach())
            outputs.append(output.detach())
        if self.after_backward:
            self.after_backward()
        optimizer.step()
        if self.second:
            self.second.optimizer.step()
        return torch.stack(losses).sum(), torch.cat(outputs)

    def clear_gradients(self, optimizer: torch.optim.Optimizer) -> None:
        """Forget the gradients of everything that an optimiser moves."""
        optimizer.zero_grad(set_to_none=True)
        if self.second:
            self.second.optimizer.zero_grad(set_to_none=True)


def autocast(recipe: Recipe, device: torch.device) -> AbstractContextManager[object]:
    """The precision that a step of the recipe computes in."""
    if recipe.precision == "bf16":
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


def remembering(recipe: Recipe, network: nn.Module) -> AbstractContextManager[object]:
    """The way in which a step of the recipe keeps activations until their gradients are taken."""
    return recomputing(network) if recipe.recompute else nullcontext()


def make_optimizer(parameters: Sequence[nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser. Weight decay is on weights only: biases and batch norm have one dimension."""
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if recipe.optimizer == "adam":
        return make_adam(groups, recipe.learning_rate)
    nesterov = recipe.nesterov and recipe.momentum > 0
    rate, on_gpu = _rate_on(parameters[0].device, recipe.learning_rate)
    return torch.optim.SGD(groups, lr=rate, momentum=recipe.momentum, nesterov=nesterov, fused=on_gpu or None)


def make_adam(parameters: Any, rate: float) -> torch.optim.Adam:
    """Adam, on a GPU in a form whose step can be recorded. parameters: or groups of them, as torch takes them."""
    given = list(parameters)
    first = given[0]["params"][0] if isinstance(given[0], dict) else given[0]
    on_device, on_gpu = _rate_on(first.device, rate)
    # Torch refuses to record a step of an Adam that was not told of it, and warns of the steps before.
    optimizer = torch.optim.Adam(given, lr=on_device, fused=on_gpu or None, capturable=on_gpu)
    optimizer._warned_capturable_if_run_uncaptured = on_gpu  # type: ignore[attr-defined]
    return optimizer


def _rate_on(device: torch.device, rate: float) -> tuple[float | Tensor, bool]:
    """A learning rate as an optimiser on the device wants it, and True on a GPU.

    There it is a tensor: a recorded step reads it, so it can be set between steps.
    """
    return (torch.tensor(rate, device=device), True) if device.type == "cuda" else (rate, False)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of all groups."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
