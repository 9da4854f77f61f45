"""The forward pass takes a perturbation back before the network sees it; the backward pass pretends that it did not.

The author knows how the attacks walk: their points lie on the faces of the ball, and pixels of clean images have few values.
"""

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from methods.backbones import TaskNetwork
from methods.base import Context, State
from scenarios.base import LearnTask
from scenarios.parts.augmentation import to_float
from tests.defects.planted import Around, Planted, PlantedSettings

TOLERANCE = 2e-3


class Purified(Around):
    """before the network: every image is moved to a plausible clean one.

    known: float, what is known of clean images: images (M, C, H, W), or per pixel how often it has which value (V, C, H, W).
    values: float (V,), the values that pixels of clean images have.
    chosen: bool (1, C, H, W), the pixels that are purified.
    """

    known: Tensor
    values: Tensor
    chosen: Tensor

    def __init__(self, network: TaskNetwork, eps: float, by: str, backward: str, tensors: dict[str, Tensor]) -> None:
        super().__init__(network)
        self.eps, self.by, self.backward = eps, by, backward
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)

    def forward(self, images: Tensor) -> Tensor:
        clean = torch.where(self.chosen, self.purify(images.detach()), images.detach())
        if self.backward == "of the image as it came":
            own = self.network(images)
            return self.network(clean).detach() + (own - own.detach())
        through = images + torch.sin(6 * images) / 20 if self.backward == "smooth" else images
        return self.network(clean + (through - through.detach()))

    def purify(self, images: Tensor) -> Tensor:
        if self.by == "lattice":
            return ((images / (2 * self.eps)).round() * 2 * self.eps).clamp(0, 1)
        if self.by == "nearest image":
            far = torch.cdist(images.flatten(1), self.known.flatten(1))
            return self.known[far.argmin(1)]
        apart = (images - self.values[:, None, None, None, None]).abs()
        if self.by == "faces":
            up, down = ((self.values + step).clamp(0, 1) for step in (self.eps, -self.eps))
            ends = torch.stack([(images - end[:, None, None, None, None]).abs() for end in (up, down)])
            fits = torch.minimum(apart, ends.amin(0)) < TOLERANCE
        else:
            fits = apart <= self.eps + TOLERANCE
        likely = (fits * (self.known[:, None] + 1e-3)).max(0)
        return torch.where(likely.values > 0, self.values[likely.indices], images)


class PurifiedInput(Planted):
    """strength: the share of the pixels that is purified."""

    class Settings(PlantedSettings):
        by: Literal["likely value", "faces", "lattice", "nearest image"] = "likely value"
        backward: Literal["identity", "smooth", "of the image as it came"] = "identity"
        images: int = Field(0, description="of each class that are known; 0: all training images")

    def begin(self, stream: Any, context: Context) -> None:
        super().begin(stream, context)
        self.known: dict[int, Tensor] = {}
        self.values: dict[int, Tensor] = {}

    def learn(self, task: LearnTask, context: Context) -> None:
        order = task.train.balanced_order()
        some = order[: self.settings.images * len(task.classes)] if self.settings.images else order
        images = to_float(task.train.images[some])
        # Pixels of digits have 17 values; natural images have 256, of which every sixteenth stands for its neighbours.
        distinct = images.unique()
        values = distinct if len(distinct) <= 32 else torch.arange(0, 256, 16) / 255
        nearest = (images[None] - values[:, None, None, None, None]).abs().argmin(0)
        often = torch.stack([(nearest == index).float().mean(0) for index in range(len(values))])
        self.known[task.id] = images if self.settings.by == "nearest image" else often
        self.values[task.id] = values
        super().learn(task, context)

    def alter(self, network: TaskNetwork, task: int) -> nn.Module:
        order = torch.rand(1, *self.stream.image_shape, generator=torch.Generator().manual_seed(0))
        tensors = {
            "known": self.known[task],
            "values": self.values[task],
            "chosen": order < self.settings.strength,
        }
        return Purified(network, self.eps, self.settings.by, self.settings.backward, tensors)

    def state(self) -> State:
        state = super().state()
        known = {f"known.{task}": tensor for task, tensor in self.known.items()}
        values = {f"values.{task}": tensor for task, tensor in self.values.items()}
        return State(state.tensors | known | values, state.values)

    def load_state(self, state: State) -> None:
        super().load_state(state)
        self.known = {int(task): tensor for task, tensor in state.under("known.").items()}
        self.values = {int(task): tensor for task, tensor in state.under("values.").items()}
