"""The authors' side: released code of GPM, WSN and Piggyback learns the same stream with the same network.

Their files are scripts. Their functions and layers are called, and the loop around them (tasks, epochs, an optimiser for each
task) is made here as their `main` makes it, without its choice of an epoch. The network (`stream.Plain`) has no batch
norm, which their code takes from the batch at test time.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib import import_module
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.references.stream import CLASSES, TASKS, Begun, Matrix, Training, begin, percent_right, seeded

SIDES = (8, 6, 4)
"""The sides of what the three convolutions are given."""


def _weights(begun: Begun) -> list[Tensor]:
    """Those of the five layers, in order."""
    return [weight.detach().clone() for _, weight in begun.network.backbone.shared_weights()]


def _data(begun: Begun) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """The images as the authors' code is given them: normalised already."""
    mean, std = begun.network.mean, begun.network.std
    return [
        ((train - mean) / std, labels, (test - mean) / std, test_labels)
        for train, labels, test, test_labels in begun.images
    ]


def _heads(begun: Begun) -> nn.ModuleList:
    heads = nn.ModuleList(nn.Linear(64, CLASSES) for _ in range(TASKS))
    heads.load_state_dict(begun.network.heads.state_dict())
    return heads


# -- GPM ------------------------------------------------------------------------------------------------------------------


def gpm(folder: Path, checkout: Path, seed: int, training: Training) -> Matrix:
    """sahagobinda/GPM, main_cifar100.py."""
    sys.path.insert(0, str(checkout))
    code = import_module("main_cifar100")
    begun = begin(folder, "task", seed, training=training, plain=True)
    seeded(seed)
    model = _SeenByGPM(begun)
    given = (Namespace(batch_size_train=training.batch_size, batch_size_test=256), model, torch.device("cpu"))
    criterion, bases, matrix = nn.CrossEntropyLoss(), [], Matrix()
    data = _data(begun)
    for task, (images, labels, *_) in enumerate(data):
        optimizer = torch.optim.SGD(model.parameters(), lr=training.learning_rate)
        projections = [torch.Tensor(np.dot(basis, basis.transpose())) for basis in bases]
        for _ in range(training.epochs):
            if task:
                code.train_projected(*given, images, labels, optimizer, criterion, projections, task)
            else:
                code.train(*given, images, labels, optimizer, criterion, task)
        with redirect_stdout(StringIO()):
            inputs = code.get_representation_matrix(model, given[2], images, labels)
            bases = code.update_GPM(model, inputs, np.full(5, 0.97) + task * np.full(5, 0.003), bases)
        matrix.rows.append(
            [code.test(*given, test, own, criterion, old)[1] for old, (_, _, test, own) in enumerate(data[: task + 1])]
        )
    return matrix


class _SeenByGPM(nn.Module):
    """Our network with what GPM's functions ask of a network."""

    def __init__(self, begun: Begun) -> None:
        super().__init__()
        self.layers = nn.ParameterList(nn.Parameter(weight) for weight in _weights(begun))
        # Its loop takes the first fifteen parameters for the backbone's: five weights and two of each batch norm.
        self.nothing = nn.ParameterList(nn.Parameter(torch.zeros(1)) for _ in range(10))
        self.fc3 = _heads(begun)
        self.act: OrderedDict[str, Tensor] = OrderedDict()
        self.map, self.ksize, self.in_channel = [*SIDES, 288, 64], [3, 3, 2], [1, 8, 16]

    def forward(self, x: Tensor) -> list[Tensor]:
        for number, weight in enumerate(self.layers):
            if weight.ndim == 2:
                x = x.flatten(1)
            self.act[str(number)] = x
            x = F.relu(F.conv2d(x, weight) if weight.ndim == 4 else F.linear(x, weight))
        x = x + 0 * torch.stack(list(self.nothing)).sum()
        return [head(x) for head in self.fc3]


# -- WSN ------------------------------------------------------------------------------------------------------------------


def wsn(folder: Path, checkout: Path, seed: int, training: Training, capacity: float) -> Matrix:
    """ihaeyong/WSN, main_wsn_cifar100_100.py and networks/subnet.py."""
    sys.path.insert(0, str(checkout))
    # A debugger that a file imports and nothing uses.
    sys.modules.setdefault("ipdb", ModuleType("ipdb"))
    code, layers = import_module("main_wsn_cifar100_100"), import_module("networks.subnet")
    begun = begin(folder, "task", seed, training=training, plain=True)
    seeded(seed)
    model = _with_layers(begun, layers.SubnetConv2d, layers.SubnetLinear, sparsity=1 - capacity)
    get_masks = import_module("networks.alexnet").SubnetAlexNet_norm.get_masks
    given = (Namespace(batch_size_train=training.batch_size, batch_size_test=256), model, torch.device("cpu"))
    criterion, masks, together, matrix = nn.CrossEntropyLoss(), [], {}, Matrix()
    data = _data(begun)
    for task, (images, labels, *_) in enumerate(data):
        optimizer = torch.optim.Adam(model.parameters(), lr=training.learning_rate)
        for _ in range(training.epochs):
            code.train(*given, images, labels, optimizer, criterion, task, together)
        with redirect_stdout(StringIO()):
            masks.append(get_masks(model, task))
        for name, mask in masks[-1].items():
            if mask is not None:
                together[name] = mask if name not in together else 1 - (1 - together[name]) * (1 - mask)
        matrix.rows.append(
            [
                code.test(*given, test, own, criterion, old, curr_task_masks=masks[old], mode="test")[1]
                for old, (_, _, test, own) in enumerate(data[: task + 1])
            ]
        )
    return matrix


class _Layered(nn.Module):
    """Our network made of somebody's layers, with the values of ours."""

    def __init__(
        self, begun: Begun, convolution: Callable[..., Any], linear: Callable[..., Any], **options: Any
    ) -> None:
        super().__init__()
        self.conv1 = convolution(1, 8, 3, bias=False, **options)
        self.conv2 = convolution(8, 16, 3, bias=False, **options)
        self.conv3 = convolution(16, 32, 2, bias=False, **options)
        self.fc1 = linear(288, 64, bias=False, **options)
        self.fc2 = linear(64, 64, bias=False, **options)
        self.last = _heads(begun)
        for layer, weight in zip(self.ordered, _weights(begun), strict=True):
            layer.weight.data.copy_(weight)

    @property
    def ordered(self) -> list[Any]:
        return [self.conv1, self.conv2, self.conv3, self.fc1, self.fc2]

    def forward(self, x: Tensor, task: int, mask: dict[str, Tensor] | None = None, mode: str = "") -> Tensor:
        for name, layer in zip(("conv1", "conv2", "conv3", "fc1", "fc2"), self.ordered, strict=True):
            if name == "fc1":
                x = x.flatten(1)
            given = {"weight_mask": mask and mask[f"{name}.weight"], "mode": mode} if mode else {}
            x = F.relu(layer(x, **given))
        found: Tensor = self.last[task](x)
        return found


def _with_layers(begun: Begun, convolution: Callable[..., Any], linear: Callable[..., Any], **options: Any) -> _Layered:
    return _Layered(begun, convolution, linear, **options)


# -- Piggyback ------------------------------------------------------------------------------------------------------------


class _Binarizer(torch.autograd.Function):
    """The threshold of Piggyback's layers, as static functions: theirs are of a torch that this Python cannot run."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, threshold: float) -> Tensor:
        return (inputs > threshold).to(inputs.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return gradients[0], None


def piggyback(folder: Path, checkout: Path, seed: int, training: Training, mask_rate: float) -> Matrix:
    """arunmallya/piggyback, src/networks/modnets/layers.py: masks over the network that the first task learned."""
    sys.path.insert(0, str(checkout / "src" / "modnets"))
    code: Any = import_module("layers")
    begun = begin(folder, "task", seed, training=training, plain=True)
    seeded(seed)
    data, matrix = _data(begun), Matrix()
    base = _with_layers(begun, nn.Conv2d, nn.Linear)
    learned: list[nn.Module] = []
    for task, (images, labels, *_) in enumerate(data):
        model: Any = base
        optimizers = [torch.optim.SGD(model.parameters(), lr=training.learning_rate)]
        if task:
            with redirect_stdout(StringIO()):
                model = _with_layers(begun, code.ElementWiseConv2d, code.ElementWiseLinear)
            for layer, plain in zip(model.ordered, base.ordered, strict=True):
                layer.weight.data.copy_(plain.weight.data)
                layer.threshold_fn = lambda mask: _Binarizer.apply(mask, code.DEFAULT_THRESHOLD)
            masks = [layer.mask_real for layer in model.ordered]
            optimizers = [
                torch.optim.SGD(model.last[task].parameters(), lr=training.learning_rate),
                torch.optim.Adam(masks, lr=mask_rate),
            ]
        for _ in range(training.epochs):
            for places in torch.randperm(len(labels)).split(training.batch_size):
                model.zero_grad()
                F.cross_entropy(model(images[places], task), labels[places]).backward()
                for optimizer in optimizers:
                    optimizer.step()
        learned.append(model)
        with torch.no_grad():
            matrix.rows.append(
                [percent_right(learned[old](test, old), own) for old, (_, _, test, own) in enumerate(data[: task + 1])]
            )
    return matrix
