"""Adversarial training under an audited protocol: `madry_at` with the attack's space, box, eps, step and mode as settings.

With every field canonical it trains the same network as `madry_at`, to the bit.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attacks.parts.ascent import ascend
from attacks.parts.guard import modes_kept
from attacks.starts import Starts
from benchmark.commands.audit.pgd import Geometry, walk
from benchmark.commands.audit.switches import TrainingProtocol
from benchmark.evaluating import validation
from benchmark.evaluating.determinism import full_precision
from methods.backbones import TaskNetwork, batch_norm_state
from methods.base import Context, MethodSettings, State
from methods.strategies.one_network import OneNetwork, OneNetworkSettings
from methods.training import Batch, Fit, InnerAttack, Logits, Objective, Validation
from methods.training.recipe import Recipe
from scenarios.base import LearnTask, Stream
from scenarios.parts.augmentation import to_float


class AuditedSettings(OneNetworkSettings, TrainingProtocol):
    """The settings of `madry_at`, and the fields of the protocol that trains it."""


class AuditedTraining(Objective):
    """min CE(x + d), d = argmax CE in the ball and the box of the protocol."""

    def __init__(self, protocol: TrainingProtocol) -> None:
        self.protocol = protocol

    def loss(self, logits: Logits, batch: Batch, attack: InnerAttack) -> tuple[Tensor, Tensor]:
        protocol, images = self.protocol, batch.images
        mean, std = normalisation_of(attack.network)
        geometry = Geometry.of(protocol, attack.threat_model.eps, protocol.clamp_box_training)
        noise = torch.rand(images.shape, device=images.device, generator=attack.generator) * 2 - 1
        start = geometry.start(images, noise, mean, std)
        with replace(attack, bn_mode=protocol.attack_bn_in_training).own_mode():
            adversarial = ascend(
                lambda points: F.cross_entropy(logits(points), batch.labels, reduction="sum"),
                start,
                *geometry.bounds(images, mean, std),
                geometry.scaled(geometry.step_size, std),
                attack.steps,
            )
        output = logits(adversarial)
        return F.cross_entropy(output, batch.labels), output


class AuditedNetwork(OneNetwork):
    """One network that learns task after task, trained and validated by the protocol in its settings."""

    Settings = AuditedSettings

    normalisations: dict[int, tuple[Tensor, Tensor]]

    @classmethod
    def objective(cls, settings: MethodSettings) -> Objective:
        assert isinstance(settings, AuditedSettings)
        return AuditedTraining(settings)

    def begin(self, stream: Stream, context: Context) -> None:
        super().begin(stream, context)
        self.normalisations = {}

    def learn(self, task: LearnTask, context: Context) -> None:
        if self.settings.normalisation == "task":
            self.normalisations[task.id] = measured_normalisation(task)
        network = self._network(task.id)
        fit = Fit(
            network=network,
            parameters=list(network.parameters()),
            validate=lambda: validate_under(self.settings, network, task, context.recipe, context.exact_eps),
            objective=self.objective(self.settings),
        )
        context.train(fit, [task])
        if self.settings.per_task_bn:
            self.batch_norms[task.id] = batch_norm_state(self.network.backbone)

    def _network(self, task: int) -> TaskNetwork:
        """The network of a task, with the task's own normalisation if the protocol says so."""
        network = self.network.for_task(task)
        if task in self.normalisations:
            network.mean, network.std = self.normalisations[task]
        return network

    def classifier(self, task: int | None) -> nn.Module:
        assert task is not None
        classifier = super().classifier(task)
        if task in self.normalisations:
            classifier.mean, classifier.std = (value.clone() for value in self.normalisations[task])
        return classifier

    def state(self) -> State:
        state = super().state()
        for task, values in self.normalisations.items():
            state.tensors.update({f"normalisation.{task}.{k}": v for k, v in zip(("mean", "std"), values, strict=True)})
        return State(state.tensors, {**state.values, "normalisations": sorted(self.normalisations)})

    def load_state(self, state: State) -> None:
        super().load_state(state)
        self.normalisations = {
            task: (state.tensors[f"normalisation.{task}.mean"], state.tensors[f"normalisation.{task}.std"])
            for task in state.values["normalisations"]
        }


def normalisation_of(network: nn.Module) -> tuple[Tensor, Tensor]:
    """The mean and the standard deviation that a task's network normalises by: (1, C, 1, 1) each."""
    assert isinstance(network, TaskNetwork)
    return network.mean, network.std


def measured_normalisation(task: LearnTask) -> tuple[Tensor, Tensor]:
    """The mean and the standard deviation of each channel over a task's training images: (1, C, 1, 1) each, in [0, 1]."""
    images = task.train.images
    # As a mean over the 256 values, in double precision: images as floating point would take twelve times their bytes.
    values = to_float(torch.arange(256, dtype=torch.uint8, device=images.device)).double()
    counts = torch.stack([torch.bincount(channel.flatten(), minlength=256) for channel in images.unbind(1)])
    shares = counts.double() / counts.sum(1, keepdim=True)
    mean = shares @ values
    std = (shares * (values - mean[:, None]).square()).sum(1).sqrt()
    # Images that are too many for the device are on the host.
    place = task.train.labels.device
    return mean.float().to(place).reshape(1, -1, 1, 1), std.float().to(place).reshape(1, -1, 1, 1)


def validate_under(
    protocol: TrainingProtocol, network: nn.Module, task: LearnTask, recipe: Recipe, eps: Fraction
) -> Validation:
    """Validate a network under the protocol's own attack.

    Starts and batches are those of `benchmark.evaluating.validation.validate`; a canonical protocol gives the same result. With
    the training attack alone, robust means right at its final iterate, whether the clean image is right or not.
    """
    geometry = Geometry.of(protocol, eps, protocol.clamp_box_evaluation)
    if protocol.step_size == recipe.attack.step_size:
        same = protocol.model_copy(update={"step_size": recipe.selection.step_size})
        geometry = Geometry.of(same, eps, protocol.clamp_box_evaluation)
    part = task.validation

    def judged(index: Tensor) -> tuple[Tensor, Tensor]:
        images, labels = to_float(part.images[index]), part.labels[index]
        noise = Starts(validation.SEED, f"validation {task.name}", part.samples[index]).uniform(images.shape).to(images)
        with torch.no_grad():
            right = network(images).argmax(1) == labels
        found = walk(network, images, labels, noise, geometry, normalisation_of(network), steps=recipe.selection.steps)
        if protocol.eval_attack == "suite":
            return right, (found.any.predicted == labels) & right
        return right, found.final.predicted == labels

    with modes_kept(network), full_precision():
        network.eval()
        clean, robust = zip(*validation.in_batches(network, part, judged), strict=True)
    return Validation(torch.cat(clean), torch.cat(robust))
