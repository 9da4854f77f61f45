"""Classifiers and images on which the tests of FAB run, and a look at the points that it asks about."""

import functools

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from attacks.threat_model import ThreatModel
from tests.attacks.attack_cases import Counting, batch, small_conv

both_norms = pytest.mark.parametrize("norm", ["linf", "l2"])


def digits(classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    data = load_digits(n_class=classes)
    return torch.tensor(data.images, dtype=torch.float32)[:, None] / 16, torch.tensor(data.target)


@functools.cache
def trained(classes: int, seed: int) -> nn.Module:
    """A small network with kinks, trained for a moment on noisy digits."""
    generator = torch.Generator().manual_seed(seed)
    classifier = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, classes)
    )
    with torch.no_grad():
        for parameter in classifier.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    optimizer = torch.optim.Adam(classifier.parameters(), 0.01)
    images, labels = digits(classes)
    for _ in range(80):
        index = torch.randint(len(images), (64,), generator=generator)
        noise = torch.rand(64, 1, 8, 8, generator=generator) * 0.4 - 0.2
        optimizer.zero_grad()
        nn.functional.cross_entropy(classifier(images[index] + noise), labels[index]).backward()
        optimizer.step()
    return classifier.eval()


def case_of(kind: str, classes: int, seed: int) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A classifier with images and labels of which it gets nearly all right."""
    if kind == "digits":
        images, labels = digits(classes)
        index = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed + 50))[:30]
        return trained(classes, seed), images[index], labels[index]
    classifier = small_conv(classes, seed=seed)
    images, labels, _ = batch(30, classes, seed=seed)
    labels[3:] = classifier(images[3:]).argmax(1)
    return classifier, images, labels


EPS = {("digits", "linf"): "0.16", ("digits", "l2"): "0.9", ("conv", "linf"): "0.15", ("conv", "l2"): "0.6"}
"""By images and norm, the eps at which about half of the images are broken."""


class Watching(Counting):
    """Counts, and keeps how many images went through at each call and where the gradients were taken."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__(inner)
        self.sizes: list[int] = []
        self.points: list[torch.Tensor] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.sizes.append(len(images))
        if images.requires_grad:
            self.points.append(images.detach().clone())
        return super().forward(images)


STURDY = ThreatModel("0.001/255")
"""Nothing is broken so near."""


class Says(nn.Module):
    """Logits as a function of the first pixel p, (M,)."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.stack([line.expand(len(images)) for line in self.function(images[:, 0, 0, 0])], 1)


def pixels(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None, None, None]
