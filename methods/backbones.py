"""Backbones: images in [0, 1] to features, normalisation inside, a linear head per task on top.

A plug-in imports from here. `VERSION` is part of every run's identity: raise it whenever a backbone would compute or initialise
something else.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

__all__ = [
    "VGG16BN",
    "Backbone",
    "BackboneChoice",
    "BatchNorm",
    "MultiHead",
    "SmallConv",
    "TaskNetwork",
    "batch_norm_state",
    "initialise",
    "load_batch_norm_state",
]

VERSION = 1

HEAD_STD = 0.01
"""Standard deviation of a head's initial weights."""

BatchNorm = nn.modules.batchnorm._BatchNorm
"""The base class of torch's batch norms of all dimensions."""


class BackboneChoice(BaseModel):
    """A backbone by name, and its width."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["vgg16_bn", "small_conv"]
    width: float = Field(
        1.0, gt=0, le=4, description="every channel and feature count is int(base · width), at least 1"
    )

    def build(self, image_shape: tuple[int, int, int], mu: float = 1.0) -> Backbone:
        """The backbone for images of this shape (C, H, W), not initialised.

        mu: multiplies the number of parameters, so widths by its root (CPG).
        """
        return {"vgg16_bn": VGG16BN, "small_conv": SmallConv}[self.name](image_shape, self.width * mu**0.5)


class Backbone(nn.Module):
    """Normalised images float (N, C, H, W) to features float (N, `features`).

    layers: all of it, one after another.
    features: how many features an image has.
    linear_std: standard deviation of the linear layers' initial weights; None: Kaiming-normal, which narrow layers need.
    instead: runs in place of the layers, on images and to features as they do (`methods/training/folded.py`); None: they run.
    """

    features: int
    linear_std: float | None = None
    instead: Callable[[Tensor], Tensor] | None = None

    def __init__(self, layers: Sequence[nn.Module], features: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.features = features

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images) if self.instead is None else self.instead(images)

    def shared_weights(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Names and weights that tasks own in pruning methods: of convolutions and linear layers, no biases, no batch norm."""
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                yield f"{name}.weight", module.weight


def _scaled(base: int, width: float) -> int:
    return max(1, int(base * width))


def _conv(inputs: int, outputs: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    ]


class VGG16BN(Backbone):
    """VGG16-BN as in CPG's code for 32x32 images: 13 convolutions without bias, two linear layers of 4096 without dropout.

    33.58 M shared weights at width 1 (14.71 M in convolutions, 18.87 M in linear layers). Images of side 32·k keep k²·512
    features after the last pooling. Raises ValueError for images smaller than 32x32.
    """

    plan = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M")

    def __init__(self, image_shape: tuple[int, int, int], width: float = 1.0) -> None:
        channels, height, side = image_shape
        if height < 32 or side < 32:
            raise ValueError(f"backbone vgg16_bn needs images of at least 32x32, not {height}x{side}; use small_conv")
        layers: list[nn.Module] = []
        for item in self.plan:
            if isinstance(item, str):
                layers.append(nn.MaxPool2d(2))
            else:
                layers += _conv(channels, _scaled(item, width))
                channels = _scaled(item, width)
        hidden = _scaled(4096, width)
        flat = channels * (height // 32) * (side // 32)
        layers += [nn.Flatten(), nn.Linear(flat, hidden), nn.ReLU(inplace=True)]
        layers += [nn.Linear(hidden, hidden), nn.ReLU(inplace=True)]
        super().__init__(layers, hidden)
        # CPG's 0.01 at width 1. A narrower layer sums fewer terms: without this its signal fades, and adversarial training
        # at width 1/4 stands still at chance.
        self.linear_std = 0.01 / width**0.5


class SmallConv(Backbone):
    """Three convolutions and a linear layer, for 8x8 digits: 32, 32, pool, 64, pool, 128."""

    def __init__(self, image_shape: tuple[int, int, int], width: float = 1.0) -> None:
        channels, height, side = image_shape
        first, second, hidden = (_scaled(base, width) for base in (32, 64, 128))
        layers = [
            *_conv(channels, first),
            *_conv(first, first),
            nn.MaxPool2d(2),
            *_conv(first, second),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(second * (height // 4) * (side // 4), hidden),
            nn.ReLU(inplace=True),
        ]
        super().__init__(layers, hidden)


class TaskNetwork(nn.Module):
    """One task's network: images float (N, C, H, W) in [0, 1] → normalise → backbone → this task's logits (N, classes).

    mean, std: buffers (1, C, 1, 1).

    Backbone and head may be shared with other task networks; `materialise` gives a copy.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: Backbone, head: nn.Linear, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.backbone((images - self.mean) / self.std))

    def materialise(self) -> TaskNetwork:
        """An independent copy as the harness wants it: eval mode, frozen."""
        return copy.deepcopy(self).eval().requires_grad_(False)


class MultiHead(nn.Module):
    """A backbone with a head per task.

    heads: linear layers, by task.
    mean, std: buffers (1, C, 1, 1).
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, backbone: Backbone, class_counts: Sequence[int], mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.heads = nn.ModuleList(nn.Linear(backbone.features, classes) for classes in class_counts)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).reshape(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).reshape(1, -1, 1, 1))

    def for_task(self, task: int) -> TaskNetwork:
        """The network of one task; it shares backbone and head with this one."""
        head = self.heads[task]
        assert isinstance(head, nn.Linear)
        return TaskNetwork(self.backbone, head, self.mean, self.std)

    def forward(self, images: Tensor, tasks: Tensor) -> Tensor:
        """Logits of images of several tasks at once, each from its own task's head: float (N, most classes).

        A logit is -inf where the image's task has fewer classes.

        images: float (N, C, H, W) in [0, 1].
        tasks: int64 (N,), the task of each image.
        """
        features = self.backbone((images - self.mean) / self.std)
        most = max(head.out_features for head in self._linear_heads())
        logits = features.new_full((len(images), most), -torch.inf)
        for task, head in enumerate(self._linear_heads()):
            # All heads on all images, then `where`: no data-dependent shapes, so no wait for the device.
            own = (tasks == task)[:, None]
            logits[:, : head.out_features] = torch.where(own, head(features), logits[:, : head.out_features])
        return logits

    def _linear_heads(self) -> Iterator[nn.Linear]:
        for head in self.heads:
            assert isinstance(head, nn.Linear)
            yield head


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


def initialise(network: MultiHead, generator: torch.Generator) -> None:
    """Draw initial weights as CPG does.

    Convolutions: Kaiming-normal, fan-out.
    Heads: N(0, 0.01).
    Linear layers: N(0, `linear_std`), 0.01 for VGG16-BN at width 1; without a `linear_std` Kaiming-normal, fan-in.
    Biases: 0. Batch norm: (1, 0).

    Everything is drawn on the CPU from `generator`, so that a seed means the same weights on every device.
    """
    heads = set(network.heads)
    for module in network.modules():
        if not isinstance(module, nn.Conv2d | nn.Linear):
            continue
        weight = torch.empty(module.weight.shape)
        std = HEAD_STD if module in heads else network.backbone.linear_std
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu", generator=generator)
        elif std is None:
            nn.init.kaiming_normal_(weight, mode="fan_in", nonlinearity="relu", generator=generator)
        else:
            nn.init.normal_(weight, 0.0, std, generator=generator)
        module.weight.data.copy_(weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
