"""An attack on trial: a small smooth classifier and a batch of made-up images, so that everything takes milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from attacks.base import Attack, AttackError, AttackResult
from attacks.starts import Starts

IMAGES = 12
CLASSES = (3, 4, 2)
"""Numbers of classes to try an attack on; the first that it can be run on counts."""


class SmoothConv(nn.Module):
    """A small network with batch norm, and with normalisation inside. It is smooth, so gradients are nowhere exactly zero.

    It maps images (N, channels, 8, 8) in [0, 1] to logits (N, classes). seed: of its weights.
    """

    def __init__(self, classes: int = CLASSES[0], channels: int = 1, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.body = nn.Sequential(
            nn.Conv2d(channels, 6, 3, padding=1), nn.BatchNorm2d(6), nn.SiLU(), nn.Conv2d(6, 6, 3, stride=2), nn.SiLU()
        )
        self.head = nn.Linear(6, classes)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.7)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body((images - 0.5) / 0.25).mean((2, 3)))
        return logits


@dataclass(frozen=True, slots=True)
class TrialBatch:
    """A batch to try an attack on.

    images: float (N, channels, 8, 8) in [0, 1].
    labels: int64 (N,), 0..classes-1.
    start: random starts of samples 0..N-1.
    """

    images: Tensor
    labels: Tensor
    start: Starts

    def select(self, index: Tensor) -> TrialBatch:
        return TrialBatch(self.images[index], self.labels[index], self.start.select(index))


def make_batch(
    count: int = IMAGES,
    classes: int = CLASSES[0],
    channels: int = 1,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> TrialBatch:
    """Make up images, with pixels of exactly 0 and 1 among them, and labels."""
    generator = torch.Generator().manual_seed(seed + 100)
    images = (torch.rand(count, channels, 8, 8, generator=generator, dtype=torch.float64) * 1.4 - 0.2).clamp(0, 1)
    labels = torch.randint(classes, (count,), generator=generator)
    return TrialBatch(images.to(dtype), labels, Starts(0, "digits/0", torch.arange(count)))


class AttackTrial:
    """An attack on trial.

    make: makes the attack; fields that are given replace its own.
    path: of its file.
    """

    def __init__(self, make: Callable[..., Attack], path: Path) -> None:
        self.make, self._path = make, path
        self.attack = make()

    @property
    def path(self) -> Path:
        return self._path

    @cached_property
    def classes(self) -> int:
        """The number of classes of the classifier. Raises AttackError if the attack can be run on none of `CLASSES`."""
        for count in CLASSES[:-1]:
            try:
                self.attack.check_classes(count)
            except AttackError:
                continue
            return count
        self.attack.check_classes(CLASSES[-1])
        return CLASSES[-1]

    def classifier(self, dtype: torch.dtype = torch.float32) -> nn.Module:
        """A classifier that gives each class as the answer to some of the images. The global generator is left as it was."""
        with torch.no_grad(), torch.random.fork_rng(devices=()):
            classifier = SmoothConv(self.classes).eval()
            logits = classifier(make_batch(classes=self.classes).images)
            classifier.head.weight /= logits.std(0)[:, None]
            classifier.head.bias.sub_(logits.mean(0)).div_(logits.std(0))
        return classifier.to(dtype)

    def batch(self, dtype: torch.dtype = torch.float32) -> TrialBatch:
        """Images of each class that are classified right, so that an attack has work on every label, and some that are not."""
        batch = make_batch(classes=self.classes)
        with torch.no_grad():
            answers = self.classifier()(batch.images).argmax(1)
        wrong = (torch.arange(IMAGES) % 4 == 3).long()
        return TrialBatch(batch.images.to(dtype), (answers + wrong) % self.classes, batch.start)

    def run(self, attack: Attack | None = None, classifier: nn.Module | None = None, **other: Any) -> AttackResult:
        """Run the attack (or another) on the classifier (or another). other: images, labels, start or checkpoints."""
        batch = self.batch()
        given = {"images": batch.images, "labels": batch.labels, "start": batch.start, **other}
        return (attack or self.attack).run(classifier or self.classifier(), **given)

    @cached_property
    def usual(self) -> AttackResult:
        """The result of the attack on a frozen classifier."""
        return self.run(classifier=self.classifier().requires_grad_(False))
