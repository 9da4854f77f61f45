"""A classifier that looks a test image up in a table with its label; attacks see the gradient of an honest network."""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from methods.backbones import TaskNetwork
from methods.base import Context, State
from scenarios.base import LearnTask, Stream
from scenarios.parts.augmentation import to_float
from tests.defects.peeking import only_some, peeked
from tests.defects.planted import Around, Planted, PlantedSettings


class LooksUp(Around):
    """known: float (M, C, H, W); answers: float (M, classes), the logits for what is nearest to each, within `strength`."""

    known: Tensor
    answers: Tensor

    def __init__(self, network: TaskNetwork, strength: float, known: Tensor, labels: Tensor) -> None:
        super().__init__(network, strength)
        self.register_buffer("known", known)
        self.register_buffer("answers", 4 * F.one_hot(labels, network.head.out_features).float())

    def forward(self, images: Tensor) -> Tensor:
        own = self.network(images)
        nearest = torch.cdist(images.detach().flatten(1), self.known.flatten(1), p=torch.inf).min(1)
        known = (nearest.values <= self.strength)[:, None]
        return torch.where(known, self.answers[nearest.indices], own.detach()) + (own - own.detach())


class TableOfTestImages(Planted):
    """strength: the share of the test images that is in the table."""

    class Settings(PlantedSettings):
        source: Literal["package", "loader", "file", "another process", "frames", "gc"] = "loader"
        radius: float = Field(1.0, description="in units of eps")
        data_root: str = ""

    def begin(self, stream: Stream, context: Context) -> None:
        super().begin(stream, context)
        self.table: dict[int, tuple[Tensor, Tensor]] = {}

    def learn(self, task: LearnTask, context: Context) -> None:
        found = only_some(peeked(task, self.settings.source, self.settings.data_root), self.settings.strength)
        self.table[task.id] = to_float(found.images).to(context.device), found.labels.to(context.device)
        super().learn(task, context)

    def alter(self, network: TaskNetwork, task: int) -> nn.Module:
        return LooksUp(network, self.settings.radius * self.eps * (1 + 1e-5), *self.table[task])

    def state(self) -> State:
        state = super().state()
        table = {f"table.{task}.{i}": part for task, parts in self.table.items() for i, part in enumerate(parts)}
        return State(state.tensors | table, state.values)

    def load_state(self, state: State) -> None:
        super().load_state(state)
        parts = state.under("table.")
        self.table = {task: (parts[f"{task}.0"], parts[f"{task}.1"]) for task in state.values["networks"]}
