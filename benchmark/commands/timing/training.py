"""Times of training steps, each compared with its parts or with a step of Madry AT."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from attacks.parts.ascent import ascend
from benchmark.commands.timing.clock import Clock
from methods.anp_vs import AnpVsSettings, NeuralPruning
from methods.backbones import TaskNetwork
from methods.parts.packing.ownership import PackedWeights
from methods.parts.packing.pruning import smallest_share
from methods.parts.packing.scored import ScoredSubnetwork
from methods.parts.packing.subnetwork import Subnetwork
from methods.parts.projection.bases import Projection
from methods.parts.stochastic_masks import MaskedNetwork, Masks
from methods.training import (
    AdversarialTraining,
    Batch,
    CleanTraining,
    Fit,
    InnerAttack,
    Objective,
    SecondOptimizer,
    Step,
    Validation,
    autocast,
    make_adam,
    make_optimizer,
)
from methods.training.algorithms.fast import FastSettings
from methods.training.algorithms.free import FreeSettings
from methods.training.algorithms.trades import TradesSettings
from methods.training.captured import WARM_UPS, Steps, recorder_for
from methods.training.folded import folded_copy
from methods.training.loop import minibatches
from methods.training.recipe import Recipe
from scenarios.base import ImageSet, LearnTask

MOST_STORED, STORED_BYTES = 2000, 2**28
"""Training images that minibatches are taken from, at most: more than caches hold, and no more than a moment's work to make."""

PACKED_STEPS, ALGORITHM_STEPS = 5.0, 4.0
"""A turn of the packed steps, and of those of other algorithms, in steps of Madry AT, about."""


def repeated_step(fit: Fit, batch: Batch, inner: InnerAttack, recipe: Recipe) -> Callable[[], None]:
    """One step of the shared training loop, recorded where it can be. Its learning rate is too small to change anything.

    inner: the recipe's attack, here on the network of `fit`.
    """
    slow = recipe.model_copy(update={"learning_rate": 1e-9})
    optimizer = make_optimizer(fit.parameters, slow)
    attack = dataclasses.replace(inner, network=fit.network)
    recorder = recorder_for(batch.images.device)
    steps = Steps(fit, attack, slow, optimizer, [attack.generator, *fit.generators], recorder)

    def step() -> None:
        fit.network.train()
        steps.make(batch, Step(1, 0, 100, optimizer))

    # The first steps of a training are made as they are, and the next one is recorded.
    for _ in range(WARM_UPS + 1 if recorder else 0):
        step()
    return step


def madry_step(network: TaskNetwork, batch: Batch, inner: InnerAttack, recipe: Recipe) -> Callable[[], None]:
    """A step of plain adversarial training of all of a network."""
    return repeated_step(Fit(network, list(network.parameters()), nothing_to_validate), batch, inner, recipe)


def nothing_to_validate() -> Validation:
    """The validation of a training that ends before it is due."""
    raise AssertionError("a single step validates nothing")


def time_adversarial_step(
    network: TaskNetwork, batch: Batch, inner: InnerAttack, recipe: Recipe, clock: Clock
) -> dict[str, Any]:
    """Time an adversarial training step against its parts: k image gradients, and one step on given images.

    Step and parts have the recipe's precision, and the gradients are those of the copy that is attacked, if one is. Forward and
    attack step are timed in float32 too, as evaluations judge.
    """
    images, labels = batch.images, batch.labels
    optimizer = make_optimizer(list(network.parameters()), recipe.model_copy(update={"learning_rate": 1e-9}))
    attacked = folded_copy(network.eval(), torch.bfloat16) if inner.folded else None

    def plain_step() -> None:
        network.train()
        optimizer.zero_grad(set_to_none=True)
        with autocast(recipe, images.device):
            loss = F.cross_entropy(network(images), labels)
        loss.backward()
        optimizer.step()

    def image_gradient(of: nn.Module = network) -> None:
        of.eval()
        ascend(lambda x: F.cross_entropy(of(x), labels, reduction="sum"), images, images, images, 0.0, 1)

    def image_gradient_in_training() -> None:
        with autocast(recipe, images.device):
            image_gradient(network if attacked is None else attacked)

    def forward() -> None:
        network.eval()
        with torch.no_grad():
            network(images)

    madry = madry_step(network, batch, inner, recipe)
    whole, plain, part, gradient, once = clock.medians(
        madry, plain_step, image_gradient_in_training, image_gradient, forward
    )
    return {
        "train_precision": recipe.precision,
        "forward_images_per_second": len(images) / once,
        "attack_step_images_per_second": len(images) / gradient,
        "train_step_images_per_second": len(images) / whole,
        "train_step_vs_parts": whole / (recipe.attack.steps * part + plain),
    }


def time_waiting(
    network: TaskNetwork,
    batch: Batch,
    inner: InnerAttack,
    recipe: Recipe,
    stored: tuple[int, int, int],
    clock: Clock,
) -> dict[str, Any]:
    """Time a training step and a minibatch of the training loop in turn: indexing, augmentation and transfer.

    batch: of a step; images are cut to its shape.
    stored: shape of the training images, (C, H, W).
    """
    device, size = batch.images.device, len(batch.labels)
    count = max(size, min(MOST_STORED, STORED_BYTES // math.prod(stored)))
    # Drawn, because zeros need no memory before they are written.
    pixels, labels = torch.randint(256, (count, *stored), dtype=torch.uint8), torch.zeros(count, dtype=torch.int64)
    seen = torch.zeros(1, *batch.images.shape[1:], dtype=torch.uint8)
    train, validation = ImageSet(pixels, labels, labels).to(device), ImageSet(seen, labels[:1], labels[:1]).to(device)
    task = LearnTask(0, "", (), train, validation)
    more = minibatches([task], size, 1, recipe, lambda purpose: torch.Generator(device).manual_seed(0))
    step, wait = clock.medians(madry_step(network, batch, inner, recipe), lambda: next(more))
    return {"data_milliseconds_per_step": 1e3 * wait, "data_share_of_train_step": wait / (wait + step)}


def time_packed_steps(
    network: TaskNetwork, batch: Batch, inner: InnerAttack, recipe: Recipe, clock: Clock
) -> dict[str, Any]:
    """Time steps on a second task against a step of Madry AT: of PackNet, CMAT with learned picks, WSN and GPM.

    WSN chooses half of the weights. GPM projects on half of each layer's directions, where it costs most.
    """
    packed = PackedWeights.fresh(dict(network.backbone.shared_weights()))
    packed.claim(0)
    packed.release(0, {name: smallest_share(w, packed.owned(name, 0), 0.6) for name, w in packed.weights.items()})
    packed.claim(1)

    def step_of(sub: Subnetwork, second: SecondOptimizer | None) -> Callable[[], None]:
        fit = Fit(
            sub,
            sub.trained(),
            nothing_to_validate,
            after_backward=sub.mask_gradients,
            after_step=sub.after_step,
            second=second,
        )
        return repeated_step(fit, batch, inner, recipe.model_copy(update={"weight_decay": 0.0}))

    def packed_step(picks: bool) -> Callable[[], None]:
        sub = Subnetwork(copy.deepcopy(network), packed, 1, weight_decay=recipe.weight_decay)
        return step_of(sub, sub.learn_picks(lambda epoch: 1e-9) if picks else None)

    def scored_step() -> Callable[[], None]:
        scores = {name: weight.detach() for name, weight in network.backbone.shared_weights()}
        decay = recipe.weight_decay
        sub = ScoredSubnetwork(copy.deepcopy(network), packed, 1, scores, capacity=0.5, weight_decay=decay)
        return step_of(sub, sub.learn_scores(lambda epoch: 1e-9))

    def projected_step() -> Callable[[], None]:
        own = copy.deepcopy(network)
        weights = dict(own.backbone.shared_weights())
        bases = {name: _half_of(weight[0].numel(), weight.device) for name, weight in weights.items()}
        projection = Projection(weights, bases, recipe.weight_decay)
        parameters = list(own.parameters())
        fit = Fit(own, parameters, nothing_to_validate, after_backward=projection.project_gradients)
        return repeated_step(fit, batch, inner, recipe)

    madry = madry_step(network, batch, inner, recipe)
    base, *others = clock.medians(madry, packed_step(False), packed_step(True), scored_step(), projected_step())
    names = ("packnet", "cmat", "wsn", "gpm")
    return {f"{name}_step_vs_madry_at": each / base for name, each in zip(names, others, strict=True)}


def _half_of(size: int, device: torch.device) -> torch.Tensor:
    """Half of a layer's directions: float (size, size // 2), orthonormal."""
    return torch.eye(size, size // 2, device=device)


def time_algorithm_steps(
    network: TaskNetwork, batch: Batch, inner: InnerAttack, recipe: Recipe, clock: Clock
) -> dict[str, Any]:
    """Time steps of the other training algorithms against a step of Madry AT.

    A step of ANP-VS is compared with its own passes: PGD, a plain step on clean images and one on adversarial images.
    """

    def stepping(objective: Objective) -> Callable[[], None]:
        own = copy.deepcopy(network)
        changed = objective.recipe(recipe)
        attack = InnerAttack.of(changed, own, inner.threat_model.eps, inner.generator)
        return repeated_step(Fit(own, list(own.parameters()), nothing_to_validate, objective), batch, attack, recipe)

    masked = MaskedNetwork(
        copy.deepcopy(network), Masks(network, 2.0, 2.0).to(batch.images.device), (), inner.generator
    )
    anp_vs = Fit(
        masked, list(masked.network.parameters()), nothing_to_validate, NeuralPruning(masked, AnpVsSettings(), 50_000),
        second=SecondOptimizer(make_adam(masked.masks.parameters(), 1e-9), lambda epoch: 1e-9),
    )  # fmt: skip
    madry, *others, plain, pruning = clock.medians(
        stepping(AdversarialTraining()),
        *(stepping(settings.objective()) for settings in (TradesSettings(), FastSettings(), FreeSettings())),
        stepping(CleanTraining()),
        repeated_step(anp_vs, batch, inner, recipe),
    )
    trades, fast, free = others
    return {
        "trades_step_vs_madry_at": trades / madry,
        "fast_at_step_vs_madry_at": fast / madry,
        "free_at_step_vs_madry_at": free / madry,
        # Madry AT's step is PGD and a plain step on what it found.
        "anp_vs_step_vs_parts": pruning / (madry + plain),
    }
