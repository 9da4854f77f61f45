"""The shared adversarial training loop. Methods differ in a few plain callables of `Fit`; nothing else is theirs to write.

`VERSION` is part of every run's identity: raise it whenever the loop would train something else from the same inputs.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attacks.ascent import ascend
from attacks.threat_model import ThreatModel, parse_fraction
from methods.recipe import Recipe
from scenarios.augmentation import by_name
from scenarios.base import LearnTask

VERSION = 1

Logits = Callable[[Tensor], Tensor]
"""Images float (N, C, H, W) in [0, 1] → logits (N, classes)."""


class Diverged(Exception):
    """Training produced numbers that are not finite."""


@dataclass(frozen=True, slots=True)
class Validation:
    """What a classifier gets right on validation images: bool (N,), clean and under the validation attack (any-iterate)."""

    clean_correct: Tensor
    robust_correct: Tensor

    @property
    def clean(self) -> float:
        return float(self.clean_correct.double().mean())

    @property
    def robust(self) -> float:
        return float(self.robust_correct.double().mean())

    @staticmethod
    def joined(parts: Sequence[Validation]) -> Validation:
        return Validation(
            torch.cat([part.clean_correct for part in parts]), torch.cat([part.robust_correct for part in parts])
        )


@dataclass(frozen=True, slots=True)
class Batch:
    """images: float (N, C, H, W) in [0, 1], augmented; labels: int64 (N,); tasks: int64 (N,), the task of each image."""

    images: Tensor
    labels: Tensor
    tasks: Tensor


@dataclass(frozen=True, slots=True)
class InnerAttack:
    """The inner maximisation of one batch: PGD from a uniform start, gradients with respect to the image only."""

    network: nn.Module
    threat_model: ThreatModel
    step_size: float
    steps: int
    bn_mode: str
    generator: torch.Generator

    def __call__(self, images: Tensor, loss: Callable[[Tensor], Tensor], start: Tensor | None = None) -> Tensor:
        """Adversarial images that raise `loss` (images → scalar); `start` defaults to a uniform point of the ball."""
        lower, upper = self.threat_model.bounds(images)
        if start is None:
            noise = torch.rand(images.shape, device=images.device, generator=self.generator) * 2 - 1
            start = torch.clamp(images + noise * float(self.threat_model.eps), lower, upper)
        # Each module gets its own mode back: a method may hold some of them, such as frozen batch norm, in eval mode.
        modes = [(module, module.training) for module in self.network.modules()]
        self.network.train(self.bn_mode == "train")
        adversarial = ascend(loss, start, lower, upper, self.step_size, self.steps)
        for module, training in modes:
            module.training = training
        return adversarial


class Objective(ABC):
    """What a training step minimises."""

    robust: bool = True
    """Whether epochs are chosen by robust validation accuracy, or by clean accuracy."""

    @abstractmethod
    def loss(self, logits: Logits, batch: Batch, attack: InnerAttack) -> tuple[Tensor, Tensor]:
        """The loss (scalar) and the logits (N, classes) that training accuracy is read from."""


class CleanTraining(Objective):
    """min CE(x): no attack."""

    robust = False

    def loss(self, logits: Logits, batch: Batch, attack: InnerAttack) -> tuple[Tensor, Tensor]:
        output = logits(batch.images)
        return F.cross_entropy(output, batch.labels), output


class AdversarialTraining(Objective):
    """min CE(x + d), d = argmax CE in the ball (Madry et al. 2018, eq. 2.1)."""

    def loss(self, logits: Logits, batch: Batch, attack: InnerAttack) -> tuple[Tensor, Tensor]:
        adversarial = attack(
            batch.images, lambda images: F.cross_entropy(logits(images), batch.labels, reduction="sum")
        )
        output = logits(adversarial)
        return F.cross_entropy(output, batch.labels), output


@dataclass
class Fit:
    """What is trained, and the callables in which methods differ.

    network: whose train/eval mode is switched and whose state is kept at the best epoch; parameters: what the optimiser
    moves; validate: accuracy on the validation split as it stands; logits: for a batch, the function from images to logits
    (default: the network itself), made once per step, so effective weights are computed once per step and not once per
    attack step; after_backward: before the optimiser steps (gradient masks); after_step: after it (weights held at zero).
    """

    network: nn.Module
    parameters: list[nn.Parameter]
    validate: Callable[[], Validation]
    objective: Objective = field(default_factory=AdversarialTraining)
    logits: Callable[[Batch], Logits] | None = None
    after_backward: Callable[[], None] | None = None
    after_step: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class Epoch:
    """One epoch's log. Accuracies are None where they were not measured in this epoch."""

    epoch: int
    loss: float
    clean_train: float | None
    robust_train: float | None
    clean_validation: float | None
    robust_validation: float | None
    learning_rate: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Selected:
    """The epoch whose network was kept, what it reached on the validation split, and what the last epoch reached."""

    epoch: int
    validation: Validation
    last: Validation
    epochs: list[Epoch]
    image_gradients: int


def train(
    fit: Fit,
    tasks: Sequence[LearnTask],
    recipe: Recipe,
    eps: Fraction,
    rng: Callable[[str], torch.Generator],
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> Selected:
    """Train on the tasks' training images, mixed, and leave the network of the selected epoch behind.

    rng: purpose → generator on the images' device. The ragged last batch of an epoch is dropped (every epoch has another
    order); a task smaller than a batch is one batch. Raises Diverged when the loss is not finite.
    """
    images = torch.cat([task.train.images for task in tasks])
    labels = torch.cat([task.train.labels for task in tasks])
    task_ids = torch.cat([torch.full_like(task.train.labels, task.id) for task in tasks])
    order_rng, augmentation_rng = rng("order"), rng("augmentation")
    augment = by_name(recipe.augmentation)
    inner = InnerAttack(
        network=fit.network,
        threat_model=ThreatModel(eps),
        step_size=float(parse_fraction(recipe.attack.step_size, eps)),
        steps=recipe.attack.steps,
        bn_mode=recipe.attack.bn_mode,
        generator=rng("attack start"),
    )
    optimizer = _optimizer(fit.parameters, recipe)
    batch_size = min(recipe.batch_size, len(labels))
    batches = len(labels) // batch_size
    best: tuple[float, int, Validation, dict[str, Tensor]] | None = None
    validation: Validation | None = None
    log: list[Epoch] = []
    for epoch in range(recipe.epochs):
        began = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate(epoch)
        fit.network.train()
        # Sums stay on the device; reading them would make the host wait for every step.
        loss_sum = torch.zeros((), device=images.device)
        right = torch.zeros((), device=images.device)
        order = torch.randperm(len(labels), device=images.device, generator=order_rng)
        for index in order[: batches * batch_size].split(batch_size):
            batch = Batch(augment(images[index], augmentation_rng), labels[index], task_ids[index])
            with _autocast(recipe, images.device):
                logits = fit.logits(batch) if fit.logits else fit.network
                loss, output = fit.objective.loss(logits, batch, inner)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if fit.after_backward:
                fit.after_backward()
            optimizer.step()
            if fit.after_step:
                fit.after_step()
            loss_sum += loss.detach()
            right += (output.detach().argmax(1) == batch.labels).sum()
        loss_mean, train_accuracy = torch.stack([loss_sum / batches, right / (batches * batch_size)]).tolist()
        if not math.isfinite(loss_mean):
            raise Diverged(f"the training loss is {loss_mean} in epoch {epoch + 1} of {recipe.epochs}")
        validated = (epoch + 1) % recipe.selection.every == 0 or epoch + 1 == recipe.epochs
        if validated:
            fit.network.eval()
            validation = fit.validate()
            score = validation.robust if fit.objective.robust else validation.clean
            if best is None or score > best[0] or recipe.selection.keep == "last":
                # The last epoch needs no copy: its network is the one that stays.
                last_one = epoch + 1 == recipe.epochs
                best = (score, epoch, validation, {} if last_one else _snapshot(fit.network))
        log.append(
            Epoch(
                epoch=epoch,
                loss=loss_mean,
                clean_train=None if fit.objective.robust else train_accuracy,
                robust_train=train_accuracy if fit.objective.robust else None,
                clean_validation=validation.clean if validated and validation else None,
                robust_validation=validation.robust if validated and validation else None,
                learning_rate=recipe.rate(epoch),
                seconds=time.perf_counter() - began,
            )
        )
        on_epoch(log[-1])
    assert best is not None
    assert validation is not None
    if best[3]:
        fit.network.load_state_dict(best[3])
    fit.network.eval()
    attacked = recipe.attack.steps if fit.objective.robust else 0
    return Selected(best[1], best[2], validation, log, attacked * recipe.epochs * batches * batch_size)


def _snapshot(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def _autocast(recipe: Recipe, device: torch.device) -> AbstractContextManager[object]:
    if recipe.precision == "bf16":
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


def _optimizer(parameters: Sequence[nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    """Weight decay on weights only: biases and batch norm have one dimension."""
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if recipe.optimizer == "adam":
        return torch.optim.Adam(groups, lr=recipe.learning_rate)
    nesterov = recipe.nesterov and recipe.momentum > 0
    return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=nesterov)
