"""The shared adversarial training loop. Methods differ in a few plain callables of `Fit`; nothing else is theirs to write.

`VERSION` is part of every run's identity: raise it whenever the loop would train something else from the same inputs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import repeat

import torch
from torch import Tensor

from attacks.threat_model import ThreatModel, parse_fraction
from methods.training.fit import Fit, Step, make_optimizer
from methods.training.objectives import Batch, InnerAttack
from methods.training.recipe import Recipe
from methods.training.selection import Epoch, KeptEpoch, Selected, snapshot
from scenarios.base import LearnTask
from scenarios.parts.augmentation import by_name

VERSION = 1


class Diverged(Exception):
    """Training produced numbers that are not finite."""


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
    kept = KeptEpoch(fit, recipe.selection)
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
                level, before = now, snapshot(fit.network)
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


def _set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
