"""The shared adversarial training loop. Methods differ in a few plain callables of `Fit`; nothing else is theirs to write.

`VERSION` is part of every run's identity: raise it whenever the loop would train something else from the same inputs.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
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

    def to_json(self) -> dict[str, str]:
        """Both as text, for checkpoints and records: `from_json` gives the same back."""
        return {"clean": _to_text(self.clean_correct), "robust": _to_text(self.robust_correct)}

    @staticmethod
    def from_json(values: Mapping[str, str]) -> Validation:
        """Raises ValueError if the text is not what `to_json` wrote."""
        return Validation(_from_text(values["clean"]), _from_text(values["robust"]))

    @staticmethod
    def joined(parts: Sequence[Validation]) -> Validation:
        return Validation(
            torch.cat([part.clean_correct for part in parts]), torch.cat([part.robust_correct for part in parts])
        )


def _to_text(correct: Tensor) -> str:
    """A bool tensor (N,) as `N:hex`, eight images a byte."""
    return f"{len(correct)}:{np.packbits(correct.cpu().numpy()).tobytes().hex()}"


def _from_text(text: str) -> Tensor:
    count, _, digits = text.partition(":")
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(digits), np.uint8), count=int(count))
    return torch.from_numpy(bits.astype(bool))


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

    def correct(self, validation: Validation) -> Tensor:
        """The validation outcomes that decisions are made by: bool (N,)."""
        return validation.robust_correct if self.robust else validation.clean_correct

    def score(self, validation: Validation) -> float:
        """The validation accuracy that decisions are made by."""
        return validation.robust if self.robust else validation.clean

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


@dataclass(frozen=True, slots=True)
class Step:
    """A step that was just made. number: from 1; epoch: from 0; per_epoch: steps of an epoch; optimizer: the recipe's."""

    number: int
    epoch: int
    per_epoch: int
    optimizer: torch.optim.Optimizer


@dataclass(frozen=True, slots=True)
class SecondOptimizer:
    """An optimiser beside the recipe's, for parameters that the recipe does not move. rate: epoch (from 0) → learning rate."""

    optimizer: torch.optim.Optimizer
    rate: Callable[[int], float]


@dataclass
class Fit:
    """What is trained, and the callables in which methods differ.

    network: whose train/eval mode is switched and whose state is kept at the best epoch; parameters: what the optimiser
    moves; validate: accuracy on the validation split as it stands; logits: for a batch, the function from images to logits
    (default: the network itself), made once per step; after_backward: before the optimisers step (gradient masks);
    after_step: after it (effective weights made anew, once per step and not once per attack step; cuts);
    second: for parameters with an optimiser of their own; patience: stop after so many validations without a better one.
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

    def step(self, batch: Batch, attack: InnerAttack, recipe: Recipe, step: Step) -> tuple[Tensor, Tensor]:
        """One training step on a batch: the loss (scalar) and the logits (N, classes), detached."""
        with autocast(recipe, batch.images.device):
            logits = self.logits(batch) if self.logits else self.network
            loss, output = self.objective.loss(logits, batch, attack)
        step.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.after_backward:
            self.after_backward()
        step.optimizer.step()
        if self.second:
            self.second.optimizer.step()
        if self.after_step:
            self.after_step(step)
        return loss.detach(), output.detach()


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
    optimizer = make_optimizer(fit.parameters, recipe)
    batch_size = min(recipe.batch_size, len(labels))
    batches = len(labels) // batch_size
    best: tuple[float, int, Validation, dict[str, Tensor]] | None = None
    validation: Validation | None = None
    log: list[Epoch] = []
    number, unimproved, stopped = 0, 0, False
    for epoch in range(recipe.epochs):
        began = time.perf_counter()
        _set_rate(optimizer, recipe.rate(epoch))
        if fit.second:
            _set_rate(fit.second.optimizer, fit.second.rate(epoch))
        fit.network.train()
        # Sums stay on the device; reading them would make the host wait for every step.
        loss_sum = torch.zeros((), device=images.device)
        right = torch.zeros((), device=images.device)
        order = torch.randperm(len(labels), device=images.device, generator=order_rng)
        for index in order[: batches * batch_size].split(batch_size):
            batch = Batch(augment(images[index], augmentation_rng), labels[index], task_ids[index])
            number += 1
            loss, output = fit.step(batch, inner, recipe, Step(number, epoch, batches, optimizer))
            loss_sum += loss
            right += (output.argmax(1) == batch.labels).sum()
        loss_mean, train_accuracy = torch.stack([loss_sum / batches, right / (batches * batch_size)]).tolist()
        if not math.isfinite(loss_mean):
            raise Diverged(f"the training loss is {loss_mean} in epoch {epoch + 1} of {recipe.epochs}")
        validated = (epoch + 1) % recipe.selection.every == 0 or epoch + 1 == recipe.epochs
        if validated:
            fit.network.eval()
            validation = fit.validate()
            score = fit.objective.score(validation)
            unimproved = 0 if best is None or score > best[0] else unimproved + 1
            stopped = fit.patience is not None and unimproved >= fit.patience
            if best is None or score > best[0] or recipe.selection.keep == "last":
                # The last epoch needs no copy: its network is the one that stays.
                last_one = stopped or epoch + 1 == recipe.epochs
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
        if stopped:
            break
    assert best is not None
    assert validation is not None
    if best[3]:
        fit.network.load_state_dict(best[3])
    fit.network.eval()
    attacked = recipe.attack.steps if fit.objective.robust else 0
    return Selected(best[1], best[2], validation, log, attacked * len(log) * batches * batch_size)


def _set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def _snapshot(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def autocast(recipe: Recipe, device: torch.device) -> AbstractContextManager[object]:
    """The precision that a step of the recipe computes in."""
    if recipe.precision == "bf16":
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


def make_optimizer(parameters: Sequence[nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser. Weight decay on weights only: biases and batch norm have one dimension."""
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if recipe.optimizer == "adam":
        return torch.optim.Adam(groups, lr=recipe.learning_rate)
    nesterov = recipe.nesterov and recipe.momentum > 0
    return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=nesterov)
