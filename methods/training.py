"""The shared adversarial training loop. Methods differ in a few plain callables of `Fit`; nothing else is theirs to write.

`VERSION` is part of every run's identity: raise it whenever the loop would train something else from the same inputs.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import repeat

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attacks.ascent import ascend
from attacks.threat_model import ThreatModel, parse_fraction
from methods.recipe import Recipe, Selection
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
        """Adversarial images that raise `loss` (images → scalar); `start`, taken into the ball, defaults to a uniform point."""
        lower, upper = self.threat_model.bounds(images)
        if start is None:
            noise = torch.rand(images.shape, device=images.device, generator=self.generator) * 2 - 1
            start = images + noise * float(self.threat_model.eps)
        with self.own_mode():
            return ascend(loss, start.clamp(lower, upper), lower, upper, self.step_size, self.steps)

    @contextmanager
    def own_mode(self) -> Iterator[None]:
        """The network in the attack's mode; afterwards each module gets its own back, because a method may hold some of them,
        such as frozen batch norm, in eval mode."""
        modes = [(module, module.training) for module in self.network.modules()]
        self.network.train(self.bn_mode == "train")
        yield
        for module, training in modes:
            module.training = training


@dataclass(frozen=True, slots=True)
class CollapseWatch:
    """After each epoch PGD (`steps` of eps/4) attacks that epoch's first batch; robust accuracy that fell by more than `drop`
    since the epoch before is a collapse (catastrophic overfitting; Wong et al. 2020, section 5.4)."""

    drop: float
    steps: int

    def accuracy(self, logits: Logits, batch: Batch, attack: InnerAttack, generator: torch.Generator) -> float:
        """Robust accuracy on the batch, of the network in eval mode."""
        size = float(attack.threat_model.eps) / 4
        pgd = replace(attack, steps=self.steps, step_size=size, bn_mode="eval", generator=generator)
        with pgd.own_mode():
            found = pgd(batch.images, lambda images: F.cross_entropy(logits(images), batch.labels, reduction="sum"))
            with torch.no_grad():
                return float((logits(found).argmax(1) == batch.labels).double().mean())


class Objective(ABC):
    """What a training step minimises: a training algorithm, whatever network and strategy it is given to.

    One instance belongs to one training. Most algorithms need nothing but `loss`.
    """

    robust: bool = True
    """Whether epochs are chosen by robust validation accuracy, or by clean accuracy."""
    replays: int = 1
    """How many steps in a row are made on a minibatch."""
    watch: CollapseWatch | None = None
    """What ends a training that has gone wrong."""

    def recipe(self, recipe: Recipe) -> Recipe:
        """The recipe where the algorithm's definition leaves it, such as an attack of another kind."""
        return recipe

    def passes(self, recipe: Recipe) -> float:
        """Forward-sized passes that a step costs per image, for estimates of time."""
        return 2 * self.image_gradients(recipe) + 3

    def image_gradients(self, recipe: Recipe) -> int:
        """Gradients with respect to the image that a step takes."""
        return self.recipe(recipe).attack.steps

    def correct(self, validation: Validation) -> Tensor:
        """The validation outcomes that decisions are made by: bool (N,)."""
        return validation.robust_correct if self.robust else validation.clean_correct

    def score(self, validation: Validation) -> float:
        """The validation accuracy that decisions are made by."""
        return validation.robust if self.robust else validation.clean

    @abstractmethod
    def loss(self, logits: Logits, batch: Batch, attack: InnerAttack) -> tuple[Tensor, Tensor]:
        """The loss (scalar) and the logits (N, classes) that training accuracy is read from."""

    def after_backward(self, attack: InnerAttack) -> None:  # noqa: B027 - most have nothing to do here
        """Called when the gradients of `loss` are there and nothing has moved yet."""


class CleanTraining(Objective):
    """min CE(x): no attack."""

    robust = False

    def image_gradients(self, recipe: Recipe) -> int:
        return 0

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
    """The epoch whose network was kept, what it reached on the validation split, and what the last epoch reached.

    collapsed: the epoch in which training went wrong and ended, by `CollapseWatch`; the last is then the one before it.
    """

    epoch: int
    validation: Validation
    last: Validation
    epochs: list[Epoch]
    image_gradients: int
    collapsed: int | None = None


def train(
    fit: Fit,
    tasks: Sequence[LearnTask],
    recipe: Recipe,
    eps: Fraction,
    rng: Callable[[str], torch.Generator],
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> Selected:
    """Train on the tasks' training images, mixed, and leave the network of the selected epoch behind.

    rng: purpose → generator on the images' device. The ragged last batch of a pass over the images is dropped (every pass has
    another order); a task smaller than a batch is one batch. Raises Diverged when the loss is not finite.
    """
    recipe, watch = fit.objective.recipe(recipe), fit.objective.watch
    size = sum(len(task.train) for task in tasks)
    batch_size = min(recipe.batch_size, size)
    steps, device = size // batch_size, tasks[0].train.labels.device
    minibatches = _minibatches(tasks, batch_size, fit.objective.replays, recipe, rng)
    inner = InnerAttack(
        network=fit.network,
        threat_model=ThreatModel(eps),
        step_size=float(parse_fraction(recipe.attack.step_size, eps)),
        steps=recipe.attack.steps,
        bn_mode=recipe.attack.bn_mode,
        generator=rng("attack start"),
    )
    optimizer = make_optimizer(fit.parameters, recipe)
    kept = _Kept(fit, recipe.selection)
    log: list[Epoch] = []
    number, level, before, collapsed = 0, 0.0, dict[str, Tensor](), None
    for epoch in range(recipe.epochs):
        began = time.perf_counter()
        if fit.second:
            _set_rate(fit.second.optimizer, fit.second.rate(epoch))
        fit.network.train()
        # Sums stay on the device; reading them would make the host wait for every step.
        loss_sum, right = torch.zeros((), device=device), torch.zeros((), device=device)
        first: Batch | None = None
        for k in range(steps):
            if k == 0 or recipe.rate_per == "step":
                _set_rate(optimizer, recipe.rate(epoch + k / steps))
            batch = next(minibatches)
            first = first or batch
            number += 1
            loss, output = fit.step(batch, inner, recipe, Step(number, epoch, steps, optimizer))
            loss_sum += loss
            right += (output.argmax(1) == batch.labels).sum()
        assert first is not None
        loss_mean, train_accuracy = torch.stack([loss_sum / steps, right / (steps * batch_size)]).tolist()
        if not math.isfinite(loss_mean):
            raise Diverged(f"the training loss is {loss_mean} in epoch {epoch + 1} of {recipe.epochs}")
        if watch is not None:
            logits = fit.logits(first) if fit.logits else fit.network
            now = watch.accuracy(logits, first, inner, rng(f"collapse watch {epoch}"))
            if now < level - watch.drop:
                collapsed = epoch
                fit.network.load_state_dict(before)
            else:
                level, before = now, _snapshot(fit.network)
        last_one = epoch + 1 == recipe.epochs
        validated = collapsed is None and ((epoch + 1) % recipe.selection.every == 0 or last_one)
        if validated:
            kept.offer(epoch, last_one)
        elif collapsed is not None and kept.offered != epoch - 1:
            kept.offer(epoch - 1, True)
        log.append(
            Epoch(
                epoch=epoch,
                loss=loss_mean,
                clean_train=None if fit.objective.robust else train_accuracy,
                robust_train=train_accuracy if fit.objective.robust else None,
                clean_validation=kept.last.clean if validated else None,
                robust_validation=kept.last.robust if validated else None,
                learning_rate=recipe.rate(epoch),
                seconds=time.perf_counter() - began,
            )
        )
        on_epoch(log[-1])
        if kept.stopped or collapsed is not None:
            break
    kept.restore()
    per_step = fit.objective.image_gradients(recipe) * number + (watch.steps * len(log) if watch else 0)
    return Selected(kept.epoch, kept.best, kept.last, log, per_step * batch_size, collapsed)


def _minibatches(
    tasks: Sequence[LearnTask], batch_size: int, replays: int, recipe: Recipe, rng: Callable[[str], torch.Generator]
) -> Iterator[Batch]:
    """Minibatches without end: passes over all images, each in another order, and each minibatch `replays` times in a row."""
    images = torch.cat([task.train.images for task in tasks])
    labels = torch.cat([task.train.labels for task in tasks])
    task_ids = torch.cat([torch.full_like(task.train.labels, task.id) for task in tasks])
    order_rng, augmentation_rng = rng("order"), rng("augmentation")
    augment = by_name(recipe.augmentation)
    whole = len(labels) // batch_size * batch_size
    while True:
        order = torch.randperm(len(labels), device=images.device, generator=order_rng)
        for index in order[:whole].split(batch_size):
            batch = Batch(augment(images[index], augmentation_rng), labels[index], task_ids[index])
            yield from repeat(batch, replays)


class _Kept:
    """The epoch whose network is left behind: the first of the best by validation, or the last."""

    best: Validation
    last: Validation

    def __init__(self, fit: Fit, selection: Selection) -> None:
        self._fit, self._selection = fit, selection
        self.epoch = self.offered = -1
        self.stopped = False
        self._unimproved = 0
        self._state: dict[str, Tensor] = {}

    def offer(self, epoch: int, last_one: bool) -> None:
        """Validate the network as it stands after `epoch` (from 0), and keep it if it is to be kept so far."""
        fit = self._fit
        fit.network.eval()
        self.last, self.offered = fit.validate(), epoch
        better = self.epoch < 0 or fit.objective.score(self.last) > fit.objective.score(self.best)
        self._unimproved = 0 if better else self._unimproved + 1
        self.stopped = fit.patience is not None and self._unimproved >= fit.patience
        if better or self._selection.keep == "last":
            self.best, self.epoch = self.last, epoch
            # The last epoch needs no copy: its network is the one that stays.
            self._state = {} if last_one or self.stopped else _snapshot(fit.network)

    def restore(self) -> None:
        """Leave the kept network behind, in eval mode."""
        if self._state:
            self._fit.network.load_state_dict(self._state)
        self._fit.network.eval()


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
