"""Small networks that were trained adversarially for a second on real digits: attacks break some of their images and not all."""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attacks.starts import Starts

IMAGES = 300
STANDARD_ERROR = (0.25 / IMAGES) ** 0.5
"""At most, of an accuracy over `IMAGES` images; two attacks on the same images differ by less."""


@cache
def digits(classes: int) -> tuple[Tensor, Tensor]:
    """Digits 0 to classes - 1, mixed: float (N, 1, 8, 8) in [0, 1] and int64 (N,)."""
    from sklearn.datasets import load_digits

    data = load_digits()
    few = data.target < classes
    order = torch.randperm(int(few.sum()), generator=torch.Generator().manual_seed(0))
    images = torch.from_numpy(data.images[few]).float()[order, None] / 16
    return images, torch.from_numpy(data.target[few])[order]


@cache
def hardened(seed: int, classes: int = 5) -> nn.Module:
    """A small convolutional network after 60 steps of fast adversarial training at 0.15: eval mode, frozen."""
    images, labels = digits(classes)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, stride=2), nn.ReLU(), nn.Flatten(),
            nn.Linear(144, classes),
        )  # fmt: skip
        optimizer = torch.optim.Adam(network.parameters(), 1e-2)
        for _ in range(60):
            index = torch.randint(len(images), (128,))
            x, y = images[index], labels[index]
            noisy = (x + 0.1 * (2 * torch.rand_like(x) - 1)).clamp(0, 1).requires_grad_()
            (gradient,) = torch.autograd.grad(F.cross_entropy(network(noisy), y), noisy)
            change = (noisy - x + 0.12 * gradient.sign()).clamp(-0.15, 0.15)
            optimizer.zero_grad()
            F.cross_entropy(network((x + change).clamp(0, 1).detach()), y).backward()
            optimizer.step()
    return network.eval().requires_grad_(False)


def case(seed: int, classes: int = 5) -> tuple[nn.Module, Tensor, Tensor, Starts]:
    """A network, images and labels that it is mostly right on, and their starts."""
    images, labels = digits(classes)
    return hardened(seed, classes), images[:IMAGES], labels[:IMAGES], Starts(seed, "trained", torch.arange(IMAGES))


def accuracy_after(attack, seed: int, classes: int = 5) -> float:
    """Accuracy of the network of that seed under one of our attacks."""
    network, images, labels, start = case(seed, classes)
    result = attack.run(network, images, labels, start)
    return (result.any[attack.steps].predicted == labels).float().mean().item()


def accuracy_on(adversarial: Tensor, seed: int, classes: int = 5) -> float:
    """Accuracy of the network of that seed on images that somebody else made."""
    network, _, labels, _ = case(seed, classes)
    return (network(adversarial).argmax(1) == labels).float().mean().item()
