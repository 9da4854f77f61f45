"""A small task, recipe and network for the tests of training."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn

from methods.backbones import MultiHead, SmallConv, initialise
from methods.training.recipe import Recipe
from scenarios.base import LearnTask, ScenarioSettings
from scenarios.digits import Digits

EPS = Fraction(1, 5)


def digits_task(train_fraction: float = 1.0) -> LearnTask:
    """The first task of digits, with a part of its training images."""
    return Digits(ScenarioSettings(tasks=1, train_fraction=train_fraction)).load()[0].to_learn()


def recipe(**changes: Any) -> Recipe:
    """A recipe of two short epochs. changes: other values of its fields."""
    base = {"epochs": 2, "batch_size": 16, "learning_rate": 0.05, "attack": {"steps": 3}, "selection": {"steps": 2}}
    return Recipe.model_validate({**base, **changes})


def network() -> nn.Module:
    """A small network of two classes, the same at every call."""
    multi = MultiHead(SmallConv((1, 8, 8), 0.25), (2,), (0.3,), (0.4,))
    initialise(multi, torch.Generator().manual_seed(0))
    return multi.for_task(0)


def same(net: nn.Module, state: dict[str, Tensor]) -> bool:
    """True if the network's state is this one, to the bit."""
    return all(torch.equal(tensor, state[name]) for name, tensor in net.state_dict().items())
