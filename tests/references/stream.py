"""The stream that both sides learn, the training that both sides do, and the numbers that both sides are told apart by.

scikit-learn's digits in five tasks of two classes, as the scenario `digits` has them: the same images and the same split.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from benchmark.learning.context import RunContext
from methods.backbones import Backbone, MultiHead, initialise
from methods.base import Method
from scenarios.base import LearnTask, SourceOptions, Stream, StreamProtocol, Task
from scenarios.parts.augmentation import to_float
from tests.tiny import begun

TASKS = 5
CLASSES = 2
PER_CLASS = 96
"""Training images of a class: whole batches, so that no side drops or adds a ragged one."""


@dataclass(frozen=True)
class Training:
    """SGD, or Adam, without momentum, weight decay, augmentation or schedule, as in the papers; the last epoch is kept."""

    epochs: int = 5
    batch_size: int = 16
    learning_rate: float = 0.1
    width: float = 0.25
    optimizer: str = "sgd"

    def recipe(self) -> dict[str, Any]:
        """The recipe of a preset that trains so."""
        return {
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "optimizer": self.optimizer,
            "learning_rate": self.learning_rate,
            "momentum": 0.0,
            "nesterov": False,
            "weight_decay": 0.0,
            "schedule": "constant",
            "selection": {"keep": "last", "every": self.epochs, "steps": 1},
        }


@dataclass(frozen=True)
class Begun:
    """A method of ours that has learned nothing yet, and what both sides start from.

    network: as freshly drawn as that of the method, value by value.
    images: by task, (train images, train labels, test images, test labels): float32 (N, C, H, W) in [0, 1] and int64 (N,).
    """

    method: Method
    context: Any
    tasks: list[LearnTask]
    stream: Stream
    network: MultiHead
    images: list[tuple[Tensor, Tensor, Tensor, Tensor]]


def begin(
    folder: Path,
    protocol: StreamProtocol,
    seed: int,
    method: str = "standard",
    settings: Mapping[str, Any] | None = None,
    training: Training | None = None,
    *,
    plain: bool = False,
) -> Begun:
    """Begin a method on the stream; `standard` for a side that only wants network and images.

    plain: True for the network that released code of GPM, WSN and Piggyback can take; False for the catalogue's small one.
    """
    training = training or Training()
    with patch.object(RunContext, "network", _plain_network) if plain else nullcontext():
        found = _begin(folder, protocol, seed, method, settings or {}, training)
    if plain:
        found.context.network = partial(_plain_network, found.context)
    return found


def _begin(
    folder: Path, protocol: StreamProtocol, seed: int, method: str, settings: Mapping[str, Any], training: Training
) -> Begun:
    row = {"method": method, **({"settings": dict(settings)} if settings else {})}
    ours, context, tasks = begun(
        folder,
        row,
        scenario={"name": "digits", "tasks": TASKS, "train_fraction": 1.0, "protocol": protocol},
        backbone={"name": "small_conv", "width": training.width},
        recipe=training.recipe(),
        seeds=[seed],
    )
    cut = [_whole_batches(task) for task in tasks]
    stream = context.job.preset.scenario(SourceOptions()).stream()
    images = [
        (to_float(task.train.images), task.train.labels, to_float(task.test.images), task.test.labels) for task in cut
    ]
    # Released code takes views of gradients, which are as the weights lie in memory.
    network = context.network(stream).to(memory_format=torch.contiguous_format)
    return Begun(ours, context, [task.to_learn() for task in cut], stream, network, images)


class Plain(Backbone):
    """Three convolutions and two linear layers, without padding, biases, pooling and batch norm."""

    def __init__(self) -> None:
        layers = [
            *(nn.Conv2d(1, 8, 3, bias=False), nn.ReLU()),
            *(nn.Conv2d(8, 16, 3, bias=False), nn.ReLU()),
            *(nn.Conv2d(16, 32, 2, bias=False), nn.ReLU(), nn.Flatten()),
            *(nn.Linear(288, 64, bias=False), nn.ReLU()),
            *(nn.Linear(64, 64, bias=False), nn.ReLU()),
        ]
        super().__init__(layers, 64)


def _plain_network(self: RunContext, stream: Stream, *, task: int = -1, mu: float = 1.0) -> MultiHead:
    network = MultiHead(Plain(), stream.class_counts, stream.mean, stream.std)
    # Methods that pack ask for another draw than the others; here all start from the same.
    initialise(network, self._generator("cpu", -1, "init", "weights"))
    return network


def _whole_batches(task: Task) -> Task:
    return replace(task, train=task.train.select(task.train.balanced_order()[: CLASSES * PER_CLASS]))


@dataclass
class Matrix:
    """Accuracies in percent: R[i][j] on task j's test images after task i."""

    rows: list[list[float]] = field(default_factory=list)

    @property
    def accuracy(self) -> float:
        """ACC: the mean of the last row."""
        return sum(self.rows[-1]) / len(self.rows[-1])

    @property
    def forgetting(self) -> float:
        """The mean over old tasks of the highest accuracy that each ever had, less the last (Chaudhry et al. 2018)."""
        old = range(len(self.rows[-1]) - 1)
        return sum(max(row[j] for row in self.rows[j:]) - self.rows[-1][j] for j in old) / len(old)


def percent_right(logits: Tensor, labels: Tensor) -> float:
    """Accuracy in percent."""
    return 100 * float((logits.argmax(1) == labels).float().mean())


def seeded(seed: int) -> None:
    """Seed the global generators, which the references draw from."""
    import random

    import numpy as np

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
