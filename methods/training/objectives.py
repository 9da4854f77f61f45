"""Training objectives: what a training step minimises, and the inner attack that they share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attacks.parts.ascent import ascend
from attacks.threat_model import ThreatModel
from methods.training.recipe import Recipe
from methods.training.validation import Validation

Logits = Callable[[Tensor], Tensor]
"""Images float (N, C, H, W) in [0, 1] → logits (N, classes)."""


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
