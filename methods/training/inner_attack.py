"""The inner maximisation of adversarial training: the attack that a training step makes on its batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attacks.memory import rows_that_fit
from attacks.parts.ascent import ascend
from attacks.parts.guard import modes_kept
from attacks.threat_model import ThreatModel, parse_fraction
from methods.training.folded import folded
from methods.training.recipe import Recipe

Logits = Callable[[Tensor], Tensor]
"""Images float (N, C, H, W) in [0, 1] → logits float (N, classes)."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The images of one training step, or of a part of it that goes through the network by itself.

    images: float (N, C, H, W) in [0, 1], augmented.
    labels: int64 (N,), 0..classes-1 of the image's task.
    tasks: int64 (N,), the id of each image's task.
    first: the place of the first image within its step; 0 unless the step goes in parts.
    weights: float (N,), the factor of each image's loss before the mean is taken; None: all count alike.
    """

    images: Tensor
    labels: Tensor
    tasks: Tensor
    first: int = 0
    weights: Tensor | None = None

    def parts(self, most: int | None) -> list[Batch]:
        """The batch in parts of at most so many images, as equal as can be; itself alone if `most` is None or is enough.

        Equal parts need the least memory. Of parts of 3 images and more none is left with a single one, which batch norm cannot
        normalise where maps are as small as a pixel.
        """
        size = len(self.labels)
        if most is None or size <= most:
            return [self]
        count = -(-size // most)
        cut = [tensor.tensor_split(count) for tensor in (self.images, self.labels, self.tasks)]
        weights = [None] * count if self.weights is None else self.weights.tensor_split(count)
        found, first = [], self.first
        for images, labels, tasks, weight in zip(*cut, weights, strict=True):
            found.append(Batch(images, labels, tasks, first, weight))
            first += len(labels)
        return found

    def copied(self) -> Batch:
        """The same images in memory of their own."""
        weights = None if self.weights is None else self.weights.clone()
        return Batch(self.images.clone(), self.labels.clone(), self.tasks.clone(), self.first, weights)

    def take_over(self, other: Batch) -> None:
        """Overwrite everything with that of a batch of the same size, which has weights if this one has some."""
        self.images.copy_(other.images)
        self.labels.copy_(other.labels)
        self.tasks.copy_(other.tasks)
        if self.weights is not None and other.weights is not None:
            self.weights.copy_(other.weights)


@dataclass(frozen=True, slots=True)
class InnerAttack:
    """PGD from a uniform start (Madry et al. 2018, eq. 2.1). Gradients are taken with respect to the image only.

    network: the network that is trained; its mode is switched during the attack.
    threat_model: the ball, in pixel space.
    step_size: of each step, in units of pixels in [0, 1].
    steps: number of steps.
    bn_mode: "eval" or "train", the mode of the network during the attack.
    generator: draws the starts, on the images' device.
    folded: True for an attack on a copy in bfloat16 with batch norm folded in, made anew for each attack.
    """

    network: nn.Module
    threat_model: ThreatModel
    step_size: float
    steps: int
    bn_mode: str
    generator: torch.Generator
    folded: bool = False

    @classmethod
    def of(cls, recipe: Recipe, network: nn.Module, eps: Fraction, generator: torch.Generator) -> InnerAttack:
        """The training attack of a recipe at this eps."""
        return cls(
            network=network,
            threat_model=ThreatModel(eps),
            step_size=float(parse_fraction(recipe.attack.step_size, eps)),
            steps=recipe.attack.steps,
            bn_mode=recipe.attack.bn_mode,
            generator=generator,
            folded=recipe.attack.folded,
        )

    def __call__(self, images: Tensor, loss: Callable[[Tensor], Tensor], start: Tensor | None = None) -> Tensor:
        """Adversarial images that raise `loss`: float (N, C, H, W), detached, in the ball and in [0, 1].

        images: float (N, C, H, W) in [0, 1].
        loss: images → scalar, summed over images, so that an image's path does not depend on its batch.
        start: float (N, C, H, W), projected into the ball first; None: a uniform point of the ball.
        """
        lower, upper = self.threat_model.bounds(images)
        start = self.drawn_start(images) if start is None else start
        with self.own_mode():
            return ascend(loss, start.clamp(lower, upper), lower, upper, self.step_size, self.steps)

    def on_cross_entropy(self, logits: Logits, images: Tensor, labels: Tensor, start: Tensor | None = None) -> Tensor:
        """Adversarial images that raise the cross-entropy of their labels; images, start and result as of a call.

        labels: int64 (N,), classes of the logits.
        """
        return self(images, lambda points: F.cross_entropy(logits(points), labels, reduction="sum"), start)

    def drawn_start(self, images: Tensor) -> Tensor:
        """A uniform point around each image, not yet cut to [0, 1]: float (N, C, H, W)."""
        noise = torch.rand(images.shape, device=images.device, generator=self.generator) * 2 - 1
        return images + noise * float(self.threat_model.eps)

    @contextmanager
    def own_mode(self) -> Iterator[None]:
        """Hold the network in the attack's mode. Afterwards each of its modules gets its own mode back."""
        with modes_kept(self.network):
            self.network.train(self.bn_mode == "train")
            with folded(self.network, torch.bfloat16) if self.folded else nullcontext():
                yield


def attacked_in_parts(attack: InnerAttack, images: Tensor, labels: Tensor, most: int) -> Tensor:
    """Images under the training attack on its network as it stands, for what is taken from a task when it is over.

    The network answers in eval mode and unfolded, so that statistics of batch norm stay those of the epoch that was kept. All
    starts are drawn at once: the parts that memory allows change nothing.

    attack: its network is from images to logits.
    images: float (N, C, H, W) in [0, 1].
    labels: int64 (N,).
    most: images at once, where memory allows.
    """
    attack, network = replace(attack, bn_mode="eval", folded=False), attack.network
    starts = attack.drawn_start(images)
    with attack.own_mode():
        rows = rows_that_fit(network, images, most)
    found = [
        attack.on_cross_entropy(network, part, own, start)
        for part, own, start in zip(images.split(rows), labels.split(rows), starts.split(rows), strict=True)
    ]
    return torch.cat(found)
