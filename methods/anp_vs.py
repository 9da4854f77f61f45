"""ANP-VS: adversarial neural pruning with vulnerability suppression (Madaan, Shin and Hwang 2020).

Channels are pruned by masks that are learned under the attack, and features are trained to move little under it. The paper has
one task; the two ways to learn several are chosen here: see `AnpVsSettings.weights`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor, nn

from attacks.memory import PROBE_ROWS, rows_that_fit
from attacks.threat_model import ThreatModel, parse_fraction
from methods.backbones import MultiHead, TaskNetwork, batch_norm_state, load_batch_norm_state
from methods.base import Context, Method, MethodError, MethodSettings, RunSpec, State
from methods.parts.maskable import check_maskable
from methods.parts.stochastic_masks import MaskedNetwork, Masks, set_batch_norm
from methods.training import Batch, Fit, InnerAttack, Logits, Objective, Recipe, SecondOptimizer, make_adam
from scenarios.base import LearnTask, Stream
from scenarios.parts.augmentation import to_float

MOST_ROWS = 500
"""Validation images on which features are compared at once, where memory allows."""

WARM_START = RunSpec("single_task_standard", weights=True)


class AnpVsSettings(MethodSettings):
    """Defaults: the paper's for CIFAR-100 (released code; CIFAR-10: beta 2, suppression 1e-4; MNIST: 4, 1e-3).

    Published with 200 epochs of Adam at 1e-3, batch 64, on one task.
    """

    weights: Literal["shared", "independent"] = Field(
        "shared",
        description="shared: one network and one set of masks, trained task after task, with batch norm and head per task; "
        "independent: a network with masks of its own per task",
    )
    warm_start: bool = Field(True, description="start from cleanly trained networks of the same recipe, as published")
    beta: float = Field(1.0, ge=0, description="weight of the masks' KL divergence")
    suppression: float = Field(0.1, ge=0, description="weight of vulnerability suppression (lambda in the paper)")
    alpha: float = Field(1e-4, gt=0, description="parameter of the masks' prior Beta(alpha, 1)")
    kl_images: int | None = Field(
        50_000,
        ge=1,
        description="number of images that the KL is divided by (N); None: of the task's training images, which prunes far more",
    )
    l2: float = Field(
        0.0,
        ge=0,
        description="½ · l2 · ‖θ‖² in the loss, θ with biases and batch norm; published: 1e-4 and no weight decay",
    )
    mask_rate: float = Field(1e-2, gt=0, description="Adam, for the masks; cut where the recipe cuts its own")
    conv_start: float = Field(2.0, description="raw a of masks on convolutions at the start")
    dense_start: float = Field(
        2.0,
        description="the same on inputs of linear layers; published -1, where batch norm behind them makes up for it",
    )
    dropout: tuple[float, ...] = Field(
        (), description="after each convolution; published: .3 0 .4 0 .4 .4 0 .4 .4 0 .4 .4 0"
    )
    bn_momentum: float = Field(
        0.1, gt=0, le=1, description="share of a new batch in batch norm's statistics; published .01"
    )
    bn_eps: float = Field(1e-5, gt=0, description="published 1e-3")

    @field_validator("dropout")
    @classmethod
    def _check_dropout(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 <= probability < 1 for probability in value):
            raise ValueError("give probabilities of dropping, at least 0 and below 1")
        return value


class NeuralPruning(Objective):
    """(CE(x) + 2 CE(x'))/3 + beta · KL/N + lambda · VS for the weights, CE(x') + beta · KL/N for the masks, in one backward pass.

    network: the network with its masks.
    settings: beta, lambda (`suppression`) and the rest.
    images: N, 1 or more.

    x' is made on the mean network in inference mode. The four stochastic passes (x and x' for the cross-entropies, both again for
    VS) have masks, dropout and batch statistics of their own. VS: mean |f(x) − f(x')| over features and their entries (eq. 6).
    """

    def __init__(self, network: MaskedNetwork, settings: AnpVsSettings, images: int) -> None:
        self.network, self.settings, self.images = network, settings, images

    def passes(self, recipe: Recipe) -> float:
        return _passes(recipe)

    def loss(self, logits: Logits, batch: Batch, attack: InnerAttack) -> tuple[Tensor, Tensor]:
        network, settings = self.network, self.settings
        # Masks become part of the weights once per step, and not once per step of the attack.
        mean = network.materialise()
        on_mean = replace(attack, network=mean, bn_mode="eval")
        adversarial = on_mean.on_cross_entropy(mean, batch.images, batch.labels)
        clean, _ = network.sampled(batch.images)
        # Its weight is 2/3 for the weights and 1 for the masks.
        output, _ = network.sampled(adversarial, gain=1.5)
        fit = (F.cross_entropy(clean, batch.labels) + 2 * F.cross_entropy(output, batch.labels)) / 3
        kl = network.masks.kl(settings.alpha) / self.images
        apart = _mean_distance(network.sampled(batch.images)[1], network.sampled(adversarial)[1])
        loss = fit + settings.beta * kl + settings.suppression * torch.stack(apart).mean()
        if settings.l2:
            weights = [p.square().sum() for p in network.network.parameters()]
            loss = loss + 0.5 * settings.l2 * torch.stack(weights).sum()
        return loss, output


def _passes(recipe: Recipe) -> float:
    """Forward-sized passes of a step: the attack, and four stochastic passes with their gradients."""
    return 2 * recipe.attack.steps + 4 * 3


def _mean_distance(first: list[Tensor], second: list[Tensor]) -> list[Tensor]:
    """Mean |f − f'| of each pair of features."""
    return [(f - g).abs().mean() for f, g in zip(first, second, strict=True)]


class AnpVs(Method):
    """Channels pruned by Bayesian masks under the attack, features that move little under it."""

    version = 1
    paper = "Madaan et al. 2020, Adversarial Neural Pruning with Latent Vulnerability Suppression"
    claims = frozenset({"unforgetting"})
    Settings = AnpVsSettings

    shared: MultiHead
    networks: dict[int, TaskNetwork]
    masks: dict[int, Masks]
    batch_norms: dict[int, dict[str, Tensor]]

    def claimed(self) -> frozenset[str]:
        """Nothing if tasks share the network, which then forgets."""
        return self.claims if self._independent else frozenset()

    @property
    def _independent(self) -> bool:
        return bool(self.settings.weights == "independent")

    @classmethod
    def requires(cls, settings: MethodSettings) -> list[RunSpec]:
        assert isinstance(settings, AnpVsSettings)
        return [WARM_START] if settings.warm_start else []

    @classmethod
    def passes(cls, settings: MethodSettings, recipe: Recipe) -> float:
        return _passes(recipe)

    def begin(self, stream: Stream, context: Context) -> None:
        self._new = lambda task: context.network(stream, task=task)
        self.networks, self.masks, self.batch_norms = {}, {}, {}
        if not self._independent:
            self.shared = context.network(stream)
            set_batch_norm(self.shared, self.settings.bn_momentum, self.settings.bn_eps)

    def _group(self, task: int) -> int:
        """The number under which a task's masks are kept."""
        return task if self._independent else 0

    def _network(self, task: int) -> TaskNetwork:
        return self.networks[task] if self._independent else self.shared.for_task(task)

    def _add(self, task: int, network: TaskNetwork | None = None) -> None:
        """Make the network and masks that a task still lacks, as they are before anything is learned.

        network: of a task that has its own, with other weights than a fresh one.
        """
        if self._independent:
            self.networks[task] = network or self._new(task).for_task(task)
            set_batch_norm(self.networks[task], self.settings.bn_momentum, self.settings.bn_eps)
        if self._group(task) not in self.masks:
            network, settings = self._network(task), self.settings
            masks = Masks(network, settings.conv_start, settings.dense_start)
            self.masks[self._group(task)] = masks.to(network.mean.device)

    def learn(self, task: LearnTask, context: Context) -> None:
        is_new = self._group(task.id) not in self.masks
        self._add(task.id)
        network, masks, settings = self._network(task.id), self.masks[self._group(task.id)], self.settings
        if settings.warm_start and is_new:
            network.load_state_dict(context.prerequisite(WARM_START).classifier(task.id).state_dict())
            set_batch_norm(network, settings.bn_momentum, settings.bn_eps)
        generator = context.rng(task.id, "train", "masks")
        masked = MaskedNetwork(network, masks, settings.dropout, generator)
        if is_new:
            try:
                check_maskable(masked, to_float(task.validation.images[:PROBE_ROWS]))
            except ValueError as error:
                raise MethodError(f"this backbone cannot be masked: {error}; choose another one") from None
        optimizer = make_adam(masks.parameters(), settings.mask_rate)
        share = settings.mask_rate / context.recipe.learning_rate
        fit = Fit(
            network=masked,
            parameters=list(network.parameters()),
            validate=lambda: context.validate(masked.materialise(), task),
            objective=NeuralPruning(masked, settings, settings.kl_images or len(task.train)),
            second=SecondOptimizer(optimizer, lambda epoch: share * context.recipe.rate(epoch)),
            generators=[generator],
        )
        context.train(fit, [task])
        if not self._independent:
            self.batch_norms[task.id] = batch_norm_state(network.backbone)
        self._record(masked, task, context)

    def _record(self, masked: MaskedNetwork, task: LearnTask, context: Context) -> None:
        """Record the share of pruned channels, and how far features move under the validation attack; per layer and in all."""
        record = context.facts.record
        pruned = {name: mask.mean() == 0 for name, mask in masked.masks.by_layer()}
        for name, gone in pruned.items():
            record("sparsity", float(gone.double().mean()), text=name)
        record("sparsity", float(torch.cat(list(pruned.values())).double().mean()))
        moved = latent_vulnerability(masked, task, context)
        for name, value in moved.items():
            record("latent_vulnerability", value, text=name)
        record("latent_vulnerability", sum(moved.values()) / len(moved))

    # -- what the harness asks for ----------------------------------------------------------------------------------------

    def classifier(self, task: int | None) -> nn.Module:
        assert task is not None
        network = self._network(task).materialise()
        if task in self.batch_norms:
            load_batch_norm_state(network.backbone, self.batch_norms[task])
        return MaskedNetwork(network, self.masks[self._group(task)]).materialise()

    def state(self) -> State:
        tensors: dict[str, Tensor] = {}
        networks = self.networks if self._independent else {0: self.shared}
        for prefix, modules in (("network", networks), ("masks", self.masks)):
            for key, module in modules.items():
                tensors |= {f"{prefix}.{key}.{name}": tensor for name, tensor in module.state_dict().items()}
        for task, state in self.batch_norms.items():
            tensors |= {f"batch_norm.{task}.{name}": tensor for name, tensor in state.items()}
        return State(tensors, {"masks": sorted(self.masks), "batch_norms": sorted(self.batch_norms)})

    def load_state(self, state: State) -> None:
        self.networks, self.masks = {}, {}
        groups = state.values["masks"]
        networks = self._new(0).apart(groups) if self._independent and groups else {}
        for group in groups:
            self._add(group, networks.get(group))
            self.masks[group].load_state_dict(state.under(f"masks.{group}."))
        for key, network in (self.networks if self._independent else {0: self.shared}).items():
            network.load_state_dict(state.under(f"network.{key}."))
        self.batch_norms = {task: state.under(f"batch_norm.{task}.") for task in state.values["batch_norms"]}


@torch.no_grad()
def latent_vulnerability(masked: MaskedNetwork, task: LearnTask, context: Context) -> dict[str, float]:
    """Mean |f(x) − f(x')| over the task's validation images, of each of the mean network's features, by name.

    x' comes from PGD with the steps and step size of the validation attack.
    """
    selection, mean = context.recipe.selection, masked.materialise()
    attack = InnerAttack(
        network=mean,
        threat_model=ThreatModel(context.exact_eps),
        step_size=float(parse_fraction(selection.step_size, context.exact_eps)),
        steps=selection.steps,
        bn_mode="eval",
        generator=context.rng(task.id, "facts", "latent vulnerability"),
    )
    masked.eval()
    sums: dict[str, float] = {}
    rows = rows_that_fit(mean, to_float(task.validation.images[:PROBE_ROWS]), MOST_ROWS)
    for index in torch.arange(len(task.validation), device=task.validation.labels.device).split(rows):
        images = to_float(task.validation.images[index])
        found = attack.on_cross_entropy(mean, images, task.validation.labels[index])
        clean, attacked = masked.features(images), masked.features(found)
        for name, apart in zip(clean, _mean_distance(list(clean.values()), list(attacked.values())), strict=True):
            sums[name] = sums.get(name, 0.0) + float(apart) * len(index)
    return {name: total / len(task.validation) for name, total in sums.items()}
