"""The shared adversarial training loop. Methods differ in a few plain callables of `Fit`; nothing else is theirs to write.

`VERSION` is part of every run's identity: raise it whenever the loop would train something else from the same inputs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import repeat

import torch

from attacks.parts.graphs.capture import out_of_memory
from methods.training.captured import Outcome, StepRecorder, Steps, recorder_for
from methods.training.collapse import CollapseGuard
from methods.training.fit import Fit, Step, make_optimizer, set_rate
from methods.training.inner_attack import Batch, InnerAttack
from methods.training.memory import too_large
from methods.training.recipe import Recipe
from methods.training.selection import Epoch, KeptEpoch, Selected
from scenarios.base import LearnTask
from scenarios.parts.augmentation import by_name
from scenarios.placement import TrainingImages

VERSION = 1

Generators = Callable[[str], torch.Generator]
"""Purpose → a generator on the images' device."""


class Diverged(Exception):
    """Training produced numbers that are not finite."""


def train(
    fit: Fit,
    tasks: Sequence[LearnTask],
    recipe: Recipe,
    eps: Fraction,
    rng: Generators,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    recorder: StepRecorder | None = None,
) -> Selected:
    """Train on the tasks' training images, mixed, and leave the network of the selected epoch behind.

    fit: what is trained, and how methods differ.
    tasks: one or more; their images are on the network's device.
    recipe: changed where `fit.objective` says so.
    eps: radius of the training attack, in pixels of [0, 1].
    rng: purpose → a generator on the images' device.
    on_epoch: called with each epoch's log.
    recorder: records steps and repeats them; None: the one of the device, if it has one.

    The ragged last batch of a pass over the images is dropped (every pass has another order); a task smaller than a batch is one
    batch. Raises Diverged if the loss is not finite, and StepTooLarge if a step runs out of memory.
    """
    recipe = fit.objective.recipe(recipe)
    attack = InnerAttack.of(recipe, fit.network, eps, rng("attack start"))
    epochs = _Epochs(fit, tasks, recipe, attack, rng, recorder or recorder_for(tasks[0].train.labels.device))
    guard = CollapseGuard(fit, attack, rng, recipe.micro_batch)
    kept = KeptEpoch(fit, recipe.selection)
    log: list[Epoch] = []
    for epoch in range(recipe.epochs):
        began = time.perf_counter()
        seen = epochs.run(epoch)
        collapsed = guard.collapsed(epoch, seen.first)
        validated = kept.consider(epoch, last_one=epoch + 1 == recipe.epochs, collapsed=collapsed)
        log.append(
            Epoch(
                epoch=epoch,
                loss=seen.loss,
                clean_train=None if fit.objective.robust else seen.accuracy,
                robust_train=seen.accuracy if fit.objective.robust else None,
                clean_validation=kept.last.clean if validated else None,
                robust_validation=kept.last.robust if validated else None,
                learning_rate=recipe.rate(epoch),
                seconds=time.perf_counter() - began,
            )
        )
        on_epoch(log[-1])
        if kept.stopped or collapsed:
            break
    kept.restore()
    epochs.end()
    gradients = fit.objective.image_gradients(recipe) * epochs.number + guard.image_gradients
    return Selected(
        epoch=kept.epoch,
        validation=kept.best,
        last=kept.last,
        epochs=log,
        image_gradients=gradients * epochs.batch_size,
        collapsed=log[-1].epoch if collapsed else None,
        recordings=epochs.steps.recordings,
        why_plain=epochs.steps.why_plain,
    )


@dataclass(frozen=True, slots=True)
class _Seen:
    """The outcome of an epoch: its mean loss, its accuracy on the images that it trained on, and its first batch."""

    loss: float
    accuracy: float
    first: Batch


class _Epochs:
    """The epochs of one training.

    steps: makes their steps.
    number: how many steps were made so far.
    """

    def __init__(
        self,
        fit: Fit,
        tasks: Sequence[LearnTask],
        recipe: Recipe,
        attack: InnerAttack,
        rng: Generators,
        recorder: StepRecorder | None,
    ) -> None:
        self._fit, self._recipe, self._attack = fit, recipe, attack
        size = sum(len(task.train) for task in tasks)
        self.batch_size = min(recipe.batch_size, size)
        self._per_epoch, self._device = size // self.batch_size, tasks[0].train.labels.device
        self._minibatches = minibatches(tasks, self.batch_size, fit.objective.replays, recipe, rng)
        self._optimizer = make_optimizer(fit.parameters, recipe)
        generators = [attack.generator, *fit.generators]
        self.steps = Steps(fit, attack, recipe, self._optimizer, generators, recorder)
        self.number = 0

    def run(self, epoch: int) -> _Seen:
        """Train for one epoch (from 0). Raises Diverged if its loss is not finite."""
        fit, recipe, steps, optimizer = self._fit, self._recipe, self._per_epoch, self._optimizer
        if fit.second:
            set_rate(fit.second.optimizer, fit.second.rate(epoch))
        fit.network.train()
        # Sums stay on the device; reading them would make the host wait for every step.
        loss_sum, right = torch.zeros((), device=self._device), torch.zeros((), device=self._device)
        first: Batch | None = None
        for k in range(steps):
            if k == 0 or recipe.rate_per == "step":
                set_rate(optimizer, recipe.rate(epoch + k / steps))
            batch = next(self._minibatches)
            first = first or batch
            self.number += 1
            loss, output = self._made(batch, Step(self.number, epoch, steps, optimizer))
            loss_sum += loss
            right += (output.argmax(1) == batch.labels).sum()
        assert first is not None
        loss_mean, accuracy = torch.stack([loss_sum / steps, right / (steps * self.batch_size)]).tolist()
        if not math.isfinite(loss_mean):
            raise Diverged(f"the training loss is {loss_mean} in epoch {epoch + 1} of {recipe.epochs}")
        return _Seen(loss_mean, accuracy, first)

    def end(self) -> None:
        """Give up the gradients and the recording of the last step, which hold on to memory of a GPU until the next training."""
        self._fit.clear_gradients(self._optimizer)
        self.steps.forget()

    def _made(self, batch: Batch, step: Step) -> Outcome:
        """Make a step. Raises StepTooLarge if memory runs out."""
        try:
            return self.steps.make(batch, step)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
        # Out of the handler: the error holds on to what the step has computed.
        self.steps.forget()
        raise too_large(self._fit, self._attack, self._recipe, self._optimizer, batch)


def minibatches(
    tasks: Sequence[LearnTask], batch_size: int, replays: int, recipe: Recipe, rng: Generators
) -> Iterator[Batch]:
    """Minibatches without end: passes over all images, each in another order, and each minibatch `replays` times in a row."""
    labels = torch.cat([task.train.labels for task in tasks])
    task_ids = torch.cat([torch.full_like(task.train.labels, task.id) for task in tasks])
    images = TrainingImages([task.train.images for task in tasks], labels.device)
    order_rng, augmentation_rng = rng("order"), rng("augmentation")
    augment = by_name(recipe.augmentation)
    # Training images may be larger, for augmentation to cut from; the network sees what it is validated on.
    height, width = tasks[0].validation.images.shape[-2:]
    size = (height, width)
    whole = len(labels) // batch_size * batch_size
    while True:
        order = torch.randperm(len(labels), device=labels.device, generator=order_rng)[:whole]
        for index, pixels in zip(order.split(batch_size), images.minibatches(order, batch_size), strict=True):
            augmented = augment(pixels, augmentation_rng, size)
            batch = Batch(augmented, labels[index], task_ids[index])
            yield from repeat(batch, replays)
