"""DGP: double gradient projection, of outputs and of smoothed input gradients (Ru et al. 2024).

Maintaining Adversarial Robustness in Continuous Learning, arXiv 2402.11196. The paper's body and its code were not to be had.
Known are its abstracts, and equations and settings as a public review and a later paper's table quote them:

- A task is trained by input gradient regularisation (adversarial training counts as a defence of that kind, too).
- Gradients are projected as in GPM, on one basis per layer. After a task two decompositions add to it: of the layers' inputs X
  (GPM's), and of their derivatives by the network's input, dX/dx: dW X = 0 keeps the outputs, dW dX/dx = 0 the sample gradients
  (eq. 4 to 11).
- Weak guarantee (eq. 12): the derivatives are summed over the pixels of the input: a column per image, and not one per pixel.
- The first layer's derivative is the identity, which would freeze it: every task has a first layer of its own.

Reconstructed, and so possibly not as published:

- A sum of derivatives over pixels is a Jacobian times a vector of ones, J 1, computed by forward-mode differentiation, with
  pixels in [0, 1]. The setting `direction: gradient`, J times the sign of the loss's gradient, is ours.
- Convolutions: J 1 has the shape of an image, and is cut into patches like one.
- The second decomposition has GPM's criterion, with a threshold of its own. The review says that the paper names no thresholds:
  defaults are GPM's for 10-split CIFAR-100.
- A task's first layer starts from that of the task before it.
- Batch norm is each task's own, as in GPM: the derivation needs a network that is the same map for an old task's image.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from methods.backbones import TaskNetwork
from methods.base import Context
from methods.gpm import GPM, GPMSettings
from methods.parts.projection.representations import input_derivatives_of_layers
from methods.settings import setting_added_later
from methods.training.choice import Algorithm, InputGradientChoice
from scenarios.base import LearnTask


class DGPSettings(GPMSettings):
    """GPM's settings, and those of the second basis.

    Published, as quoted: batch 32, 10 epochs and lambda 50 on one of its data sets; AlexNet on 10-split CIFAR-100.
    """

    training: Algorithm = setting_added_later(
        InputGradientChoice(), description="igr (published), clean, madry, trades, free or fast"
    )
    represent: Literal["attacked", "clean", "both"] = Field(
        "clean", description="these images as they are (published), under the training attack, or both"
    )
    gradient_threshold: float = Field(
        0.97,
        ge=0,
        le=1,
        description="share of the energy of the derivatives that is kept after the first task, rising as the other; 0: none ever",
    )
    direction: Literal["ones", "gradient"] = Field(
        "ones",
        description="the direction of the derivatives: the sum over pixels (published), or the sign of the loss's gradient",
    )
    own_first_layer: bool = Field(True, description="each task keeps a first layer of its own, which is not projected")

    @model_validator(mode="after")
    def _check_kept(self) -> DGPSettings:
        if self.own_first_layer and not self.per_task_bn:
            raise ValueError(
                "own_first_layer = true keeps what is a task's own: set per_task_bn to true, or own_first_layer to false"
            )
        return self

    def gradient_share(self, task: int) -> float:
        """The share of the derivatives' energy that bases hold after a task (from 0)."""
        return min(1.0, self.gradient_threshold + self.threshold_step * task) if self.gradient_threshold else 0.0


class DGP(GPM):
    """One network whose weights move at right angles to the inputs of old tasks and to what images do to them."""

    version = 1
    paper = "Ru et al. 2024, Maintaining Adversarial Robustness in Continuous Learning"
    Settings = DGPSettings

    def try_out(self, network: TaskNetwork, images: Tensor) -> None:
        super().try_out(network, images)
        input_derivatives_of_layers(network, images, torch.ones_like(images))

    @property
    def own_weights(self) -> frozenset[str]:
        return frozenset(self.order[:1]) if self.settings.own_first_layer else frozenset()

    def protect(self, images: Tensor, labels: Tensor, task: LearnTask, context: Context) -> None:
        super().protect(images, labels, task, context)
        settings, network = self.settings, self.network.for_task(task.id).eval()
        directions = torch.ones_like(images) if settings.direction == "ones" else _steepest(network, images, labels)
        found = input_derivatives_of_layers(network, images, directions)
        self.grow(found, settings.gradient_share(task.id))


def _steepest(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """The sign of the loss's gradient at each image: float (N, C, H, W)."""
    images = images.detach().requires_grad_()
    loss = F.cross_entropy(network(images), labels, reduction="sum")
    return torch.autograd.grad(loss, images)[0].sign()
