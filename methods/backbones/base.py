"""The contract of a backbone, and what backbones are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

BatchNorm = nn.modules.batchnorm._BatchNorm
"""The base class of torch's batch norms of all dimensions."""


class Backbone(nn.Module):
    """Normalised images float (N, C, H, W) to features float (N, `features`).

    layers: all of it, one after another; a `Residual` is one of them.
    features: how many features an image has.
    linear_std: standard deviation of the linear layers' initial weights; None: Kaiming-normal, which narrow layers need.
    pretrained: True for one that starts from pre-trained weights.
    grows: True if it can be made wider.
    instead: runs in place of the layers, on images and to features as they do (`methods/training/folded.py`); None: they run.
    through: takes images through the layers (`methods/backbones/recomputation.py`); None: one after another.
    """

    features: int
    linear_std: float | None = None
    pretrained: bool = False
    grows: ClassVar[bool] = True
    instead: Callable[[Tensor], Tensor] | None = None
    through: Callable[[nn.Sequential, Tensor], Tensor] | None = None

    def __init__(self, layers: Sequence[nn.Module], features: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.features = features

    def forward(self, images: Tensor) -> Tensor:
        if self.instead is not None:
            return self.instead(images)
        return self.layers(images) if self.through is None else self.through(self.layers, images)

    def shared_weights(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Names and weights that tasks own in pruning methods: of convolutions and linear layers, no biases, no batch norm."""
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                yield f"{name}.weight", module.weight


class Residual(nn.Module):
    """The sum of two ways from the same input, a block of layers and its shortcut (He et al. 2016, eq. 1 and 2).

    shortcut: nothing, or a projection to the block's shape.
    """

    def __init__(self, body: Sequence[nn.Module], shortcut: Sequence[nn.Module] = ()) -> None:
        super().__init__()
        self.body, self.shortcut = nn.Sequential(*body), nn.Sequential(*shortcut)

    def forward(self, images: Tensor) -> Tensor:
        beside = self.shortcut(images)
        return self.body(images) + beside


class GlobalAverage(nn.Module):
    """The mean over all places: float (N, C, H, W) to (N, C). Deterministic on a GPU, where torch's adaptive pooling is not."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3))


def scaled(base: int, width: float) -> int:
    """A channel or feature count at a width."""
    return max(1, int(base * width))


def convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> list[nn.Module]:
    """A convolution without bias that keeps the size of images at stride 1, and its batch norm."""
    return [
        nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
    ]


def batch_norm_state(module: nn.Module) -> dict[str, Tensor]:
    """Copies of gamma, beta, mean, variance and count of every batch norm in `module`, by state-dict name."""
    names = [name for name, child in module.named_modules() if isinstance(child, BatchNorm)]
    return {
        f"{name}.{key}": tensor.detach().clone()
        for name in names
        for key, tensor in module.get_submodule(name).state_dict().items()
    }


def load_batch_norm_state(module: nn.Module, state: dict[str, Tensor]) -> None:
    """Overwrite the batch norms of `module` with what `batch_norm_state` gave."""
    current: dict[str, Any] = module.state_dict()
    with torch.no_grad():
        for name, tensor in state.items():
            current[name].copy_(tensor)
