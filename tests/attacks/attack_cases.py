"""Cases for the tests of attacks: every attack of the folder, small classifiers, images and starts."""

import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

import attacks
from attacks.base import Attack, AttackResult
from attacks.pgd import PGD
from attacks.starts import Starts
from attacks.threat_model import ThreatModel
from benchmark.contract.attack_trial import SmoothConv as SmallConv
from benchmark.contract.attack_trial import make_batch

EIGHT = ThreatModel(Fraction(8, 255))
CLASSES = 3
NEEDED = {
    "threat_model": EIGHT,
    "steps": 4,
    "step_size": Fraction(2, 255),
    "algorithm": "MIFGSM",
    "source": "standard",
}
"""Values for fields without a default; a new attack whose required field is not here adds it."""

SHORT: dict[str, dict[str, object]] = {
    "apgd": {"steps": 6},
    "fab": {"steps": 4},
    "square": {"queries": 25},
    "ensemble": {"steps": 3, "queries": 5, "composition": "c3"},
}
"""Budgets for tests, by the attack's file, where the default is a published one."""


def attack_classes_by_module() -> dict[str, list[type[Attack]]]:
    """The concrete attacks that each file of the folder defines itself."""
    found = {}
    for item in pkgutil.iter_modules(attacks.__path__):
        module = importlib.import_module(f"attacks.{item.name}")
        found[item.name] = [
            value
            for value in vars(module).values()
            if inspect.isclass(value)
            and issubclass(value, Attack)
            and not inspect.isabstract(value)
            and value.__module__ == module.__name__
        ]
    return found


def attack_classes() -> list[type[Attack]]:
    return [cls for classes in attack_classes_by_module().values() for cls in classes]


def make(cls: type[Attack], **settings: object) -> Attack:
    """An attack with its defaults, `settings`, a short budget, and `NEEDED` for whatever else has no default."""
    short = SHORT.get(cls.__module__.rpartition(".")[2], {})
    given = {**short, **settings}
    needed = {
        field.name
        for field in dataclasses.fields(cls)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    if "made_with" in needed:
        # A transfer is under the threat model of the attack that makes it, and needs a classifier to make it on.
        model = given.get("threat_model", EIGHT)
        made_with = PGD(threat_model=model, steps=3, step_size="eps/2")
        on = {"surrogate": SURROGATE} if any(field.name == "surrogate" for field in dataclasses.fields(cls)) else {}
        given = {"made_with": made_with, **on, **given}
    required = {name: NEEDED[name] for name in needed if name not in given}
    return cls(**(required | given))


class InDouble(nn.Module):
    """A classifier that computes in float64 whatever it is given."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner.double()

    def forward(self, images: Tensor) -> Tensor:
        return self.inner(images.double()).to(images.dtype)


SURROGATE = InDouble(SmallConv(seed=3)).eval()
"""The classifier that transfers are made on. It is made before any test, so that making it touches no random state."""


def small_conv(
    classes: int = CLASSES, channels: int = 1, seed: int = 0, dtype: torch.dtype = torch.float32
) -> nn.Module:
    return SmallConv(classes, channels, seed).eval().to(dtype)


def batch(
    count: int = 12, classes: int = CLASSES, channels: int = 1, seed: int = 0, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor, Starts]:
    """Images (count, channels, 8, 8) with pixels of 0 and 1 among them, labels, the starts of samples 0..count-1."""
    made = make_batch(count, classes, channels, seed, dtype)
    return made.images, made.labels, made.start


def any_random_case(most_pixels: int) -> dict[str, st.SearchStrategy[Any]]:
    """Strategies for the arguments of `random_case` and `threat_model`. most_pixels: of the sides of an image."""
    sides = st.integers(3, most_pixels)
    return {
        "eps": st.fractions(0, 1, max_denominator=510),
        "norm": st.sampled_from(["linf", "l2"]),
        "shape": st.tuples(st.integers(1, 4), st.integers(1, 3), sides, sides),
        "dtype": st.sampled_from([torch.float32, torch.float64]),
        "seed": st.integers(0, 2**31),
    }


def random_case(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> tuple[nn.Module, Tensor, Tensor, Starts]:
    """A classifier, random images of which many pixels are 0 or 1, the labels that it gives them, and their starts."""
    generator = torch.Generator().manual_seed(seed)
    images = (torch.rand(shape, generator=generator, dtype=dtype) * 1.5 - 0.25).clamp(0, 1)
    classifier = small_conv(channels=shape[1], dtype=dtype)
    with torch.no_grad():
        labels = classifier(images).argmax(1)
    return classifier, images, labels, Starts(seed, "k", torch.arange(shape[0]))


def threat_model(eps: Fraction, norm: str) -> ThreatModel:
    """The threat model of an eps in 0..1; an l2 ball is three times as large."""
    return ThreatModel(3 * eps if norm == "l2" else eps, norm)


def run_in_parts(
    attack: Attack, classifier: nn.Module, batch: tuple[Tensor, Tensor, Starts], sizes: list[int], seed: int = 0
) -> Iterator[tuple[Tensor, AttackResult]]:
    """Attack a batch in parts of these sizes, its images in another order; yield each part's indices and result."""
    images, labels, start = batch
    for index in torch.randperm(len(images), generator=torch.Generator().manual_seed(seed)).split(sizes):
        yield index, attack.run(classifier, images[index], labels[index], start.select(index))


class Counting(nn.Module):
    """Counts forward passes, and the backward passes that reach the images."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.forwards, self.gradients = inner, 0, 0

    def forward(self, images: Tensor) -> Tensor:
        self.forwards += 1
        if images.requires_grad:
            images.register_hook(self._count)
        return self.inner(images)

    def _count(self, gradient: Tensor) -> None:
        self.gradients += 1


class Recording(nn.Module):
    """Keeps every batch it is asked about, in order."""

    def __init__(self, inner) -> None:
        super().__init__()
        self.inner, self.asked = inner, []

    def forward(self, images):
        self.asked.append(images.detach().clone())
        return self.inner(images)


def accuracy(outcome, labels: Tensor) -> float:
    return (outcome.predicted == labels).float().mean().item()
