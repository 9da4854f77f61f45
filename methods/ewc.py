"""Elastic weight consolidation, online: weights are held by the Fisher information of the tasks before (Schwarz et al. 2018)."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from methods.base import Context
from methods.parts.consolidation.fisher import FisherLabels, fisher_information
from methods.strategies.anchored import AnchoredNetwork
from methods.strategies.one_network import OneNetworkSettings
from methods.training import InnerAttack, TrainedBy, attacked_in_parts
from scenarios.base import LearnTask
from scenarios.parts.augmentation import to_float

MOST_ROWS = 500
"""Images that are attacked at once, where memory allows."""


class EWC(AnchoredNetwork):
    """One network; moving a weight costs the more, the more the predictions on the tasks before depend on it.

    Before task k a step adds lambda/2 · gamma · sum of F* · (θ - θ*)² to its loss, θ* from the end of the task before. After it,
    F* becomes gamma · F* + F, F of task k at its kept epoch (Schwarz et al. 2018, section 4, eq. 8 and 9).

    No weight's factor is above 1 / learning rate (`AnchoredNetwork`), so a large lambda says how many weights stand still.

    F is of the likelihood of attacked images: the recipe's attack on the cross-entropy, on the network in eval mode, whatever
    `training` is, but none if that is clean. Training images are not augmented for it. The paper has no attack, and normalises
    the F of each task where losses differ in scale; here F is the mean over images as it is.
    """

    version = 1
    paper = "Schwarz et al. 2018, Progress & Compress: A Scalable Framework for Continual Learning"

    class Settings(OneNetworkSettings, TrainedBy):
        """Default strength: van de Ven's released code for Split CIFAR-100, task-incremental (Adam at 1e-4), with an F of all
        labels over all clean images.

        Others are from 10 to 1e5, each with an F of its own, so they say little about each other. 500 images: one of the
        settings of van de Ven 2025, with exact labels.
        """

        strength: float = Field(1000.0, ge=0, description="lambda, of the penalty beside the loss")
        decay: float = Field(
            1.0, ge=0, le=1, description="gamma: how much of the tasks before counts after another task"
        )
        fisher_images: int | None = Field(
            500, ge=1, description="training images of a task that F is taken of, at most; None: all"
        )
        fisher_of: Literal["attacked", "clean"] = Field("attacked", description="the images that F is taken of")
        fisher_labels: FisherLabels = Field(
            "sampled",
            description="sampled: one per image from the prediction; exact: all, weighted by the prediction, at a pass for each "
            "class; true: the image's own (empirical F)",
        )

    def stiffness(self, importance: Tensor) -> Tensor:
        return self.settings.strength * self.settings.decay * importance

    def consolidate(self, task: LearnTask, context: Context) -> None:
        found = self._information(task, context)
        before = {name: self.importance.get(name, torch.zeros_like(now)) for name, now in found.items()}
        self.remember({name: self.settings.decay * before[name] + now for name, now in found.items()}, context)

    def _information(self, task: LearnTask, context: Context) -> dict[str, Tensor]:
        """F of a task, of the network as it stands."""
        names, network = self.shared(self.asked(task.id)), self.asked(task.id).materialise()
        labels = task.train.labels
        order = torch.randperm(len(labels), device=labels.device, generator=context.rng(task.id, "fisher", "images"))
        chosen = task.unaugmented.select(order[: self.settings.fisher_images])
        images = to_float(chosen.images.to(context.device))
        if self.settings.fisher_of == "attacked":
            images = self._attacked(network, images, chosen.labels, task, context)
        generator = context.rng(task.id, "fisher", "labels")
        return fisher_information(network, names, images, chosen.labels, self.settings.fisher_labels, generator)

    def _attacked(
        self, network: nn.Module, images: Tensor, labels: Tensor, task: LearnTask, context: Context
    ) -> Tensor:
        """The images under the training's attack; as they are if it has none."""
        objective = self.objective(self.settings)
        if not objective.robust:
            return images
        starts = context.rng(task.id, "fisher", "attack start")
        attack = InnerAttack.of(objective.recipe(context.recipe), network, context.exact_eps, starts)
        return attacked_in_parts(attack, images, labels, MOST_ROWS)
