"""Networks of tasks: a backbone with its normalisation before it and linear heads behind it."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from methods.backbones.base import Backbone


class JoinedHeads(nn.Module):
    """Linear heads side by side: features float (N, F) to the logits of all of them (N, sum of classes)."""

    def __init__(self, heads: Iterable[nn.Module]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(heads)

    def forward(self, features: Tensor) -> Tensor:
        return torch.cat([head(features) for head in self.heads], 1)


class TaskNetwork(nn.Module):
    """A network that answers one question: images float (N, C, H, W) in [0, 1] → normalise → backbone → logits (N, classes).

    head: of a task, or of several side by side.
    mean, std: buffers (1, C, 1, 1).

    Backbone and head may be shared with other task networks; `materialise` gives a copy.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: Backbone, head: nn.Linear | JoinedHeads, mean: Tensor, std: Tensor) -> None:
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

    def apart(self, tasks: Iterable[int]) -> dict[int, TaskNetwork]:
        """A network of each task, by task; they share nothing with each other or with this one."""
        return {task: copy.deepcopy(self.for_task(task)) for task in tasks}

    def for_seen(self, task: int) -> TaskNetwork:
        """The network of all classes of the tasks up to this one, in order; it shares backbone and heads with this one."""
        return TaskNetwork(self.backbone, JoinedHeads(self.heads[: task + 1]), self.mean, self.std)

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
