"""Mammoth's side: a model of aimagelab/mammoth learns the same stream with the same network.

The model is Mammoth's own class, which is given our batches by `observe`, its own hooks before and after a task, and a backbone
that is our network behind Mammoth's interface. Its package of data sets, which downloads weights when it is imported, is left
out.

Under protocol `task` Mammoth lets all classes compete while it trains, and tells the task at test alone. To ask it our question
it is given a cross-entropy among the classes of the label's own task, or the current head alone.
"""

from __future__ import annotations

import copy
import logging
import sys
from argparse import Namespace
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.backbones import MultiHead
from scenarios.base import StreamProtocol
from tests.references.stream import CLASSES, TASKS, Begun, Matrix, Training, begin, percent_right, seeded

Answers = Literal["seen", "all", "current"]
"""The heads whose logits Mammoth is given while it trains: those of the tasks so far, all, or that of the task at hand."""


def use(folder: Path) -> None:
    """Make a checkout of Mammoth importable."""
    sys.path.insert(0, str(folder))
    # Its own `__init__` reads every data set, some of which download networks.
    package: Any = ModuleType("datasets")
    package.__path__ = [str(folder / "datasets")]
    package.__getattr__ = lambda name: None
    sys.modules["datasets"] = package
    logging.disable(logging.WARNING)


def learn(
    folder: Path,
    protocol: StreamProtocol,
    seed: int,
    model: str,
    settings: dict[str, Any],
    *,
    answers: Answers = "seen",
    in_memory: int | None = None,
    late: bool = False,
    training: Training | None = None,
    plain: bool = False,
) -> Matrix:
    """Learn the stream with a model of Mammoth.

    model: "module.Class" under its `models`.
    settings: of the model, by the names of its own options.
    in_memory: images of the first batch after a task, which A-GEM keeps; None: those of any batch.
    late: True if the memory is offered each image once, when a task is over, as ours is; False for each step's images.
    """
    from importlib import import_module

    training = training or Training()
    begun = begin(folder, protocol, seed, training=training, plain=plain)
    seeded(seed)
    module, name = model.split(".")
    backbone = _backbone(begun.network, answers)
    images = [(train, labels + _first(protocol, task), *_) for task, (train, labels, *_) in enumerate(begun.images)]
    data = SimpleNamespace(
        N_CLASSES=TASKS * CLASSES,
        N_TASKS=TASKS,
        N_CLASSES_PER_TASK=CLASSES,
        SETTING="class-il",
        get_offsets=lambda task: (task * CLASSES, (task + 1) * CLASSES),
        get_normalization_transform=lambda: None,
    )
    arguments = Namespace(
        lr=training.learning_rate,
        optimizer="sgd",
        optim_wd=0.0,
        optim_mom=0.0,
        optim_nesterov=False,
        label_perc=1,
        nowand=True,
        batch_size=training.batch_size,
        minibatch_size=training.batch_size,
        n_epochs=training.epochs,
        **settings,
    )
    loss = F.cross_entropy if protocol == "class" or answers == "current" else partial(_in_own_head)
    learner = getattr(import_module(f"models.{module}"), name)(backbone, loss, arguments, None, dataset=data)
    offer = learner.buffer.add_data if late else None
    matrix = Matrix()
    for task, (train, labels, *_) in enumerate(images):
        backbone.task = task
        shown = labels - (task * CLASSES if answers == "current" else 0)
        learner.net.train()
        if offer:
            learner.buffer.add_data = lambda **given: None
        data.train_loader = _Loader(train, shown, training.batch_size)
        learner.meta_begin_task(data)
        for epoch in range(training.epochs):
            for inputs, own, plain in data.train_loader:
                learner.meta_observe(inputs, own, plain, epoch=epoch)
        if offer:
            order = torch.randperm(len(shown))
            offer(examples=train[order], labels=shown[order])
        data.train_loader = _Loader(train, shown, in_memory or training.batch_size)
        learner.meta_end_task(data)
        matrix.rows.append([_right(backbone, begun, protocol, task, old) for old in range(task + 1)])
    return matrix


def _first(protocol: StreamProtocol, task: int) -> int:
    return 0 if protocol == "class" else task * CLASSES


class _Loader:
    """Batches (images, labels, the same images not augmented) in a new order each time."""

    def __init__(self, images: Tensor, labels: Tensor, size: int) -> None:
        self._images, self._labels, self._size = images, labels, size

    def __len__(self) -> int:
        return len(self._labels) // self._size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for places in torch.randperm(len(self._labels))[: len(self) * self._size].split(self._size):
            yield self._images[places], self._labels[places], self._images[places]


def _in_own_head(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each image among the classes of its own task. labels: among all classes."""
    own = torch.arange(logits.shape[1])[None] // CLASSES == labels[:, None] // CLASSES
    return F.cross_entropy(logits.masked_fill(~own, -torch.inf), labels)


def _backbone(network: MultiHead, answers: Answers) -> Any:
    from backbone import MammothBackbone

    class Ours(MammothBackbone):
        """Our network as Mammoth's backbone."""

        def __init__(self) -> None:
            super().__init__()
            self.network, self.task = copy.deepcopy(network), 0

        def forward(self, x: Tensor, returnt: str = "out") -> Tensor:
            assert returnt == "out"
            if answers == "current":
                return self.network.for_task(self.task)(x)
            return self.network.for_seen(self.task if answers == "seen" else TASKS - 1)(x)

        def get_grads(self) -> Tensor:
            # Mammoth's own takes the gradient of every parameter, and would fail at heads that no loss reached.
            return torch.cat(
                [(p.grad if p.grad is not None else torch.zeros_like(p)).view(-1) for p in self.parameters()]
            )

    return Ours()


def _right(backbone: nn.Module, begun: Begun, protocol: StreamProtocol, task: int, old: int) -> float:
    (_, _, images, labels), was = begun.images[old], backbone.training
    backbone.eval()
    network: Any = backbone.network
    asked = network.for_task(old) if protocol == "task" else network.for_seen(task)
    with torch.no_grad():
        found = percent_right(asked(images), labels)
    backbone.train(was)
    return found
