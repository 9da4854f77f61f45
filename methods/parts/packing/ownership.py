"""Weights and their owners: the state that PackNet and CMAT share (Mallya & Lazebnik 2018, Hung et al. 2019, both section 3).

Every shared weight (of convolutions and linear layers) has one owner, a task or nobody. A task's classifier is a pure function
of the weights, the owner map and the part that the task keeps for itself. No gradient of another task moves an owned weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

FREE = 0
"""The owner of a weight that nobody owns."""
BASE = 255
"""The owner of weights that were there before the first task: pre-trained, and never moved."""
MOST_TASKS = 254
"""Owners are uint8, and one of them is `BASE`."""


def owner_of(task: int) -> int:
    """The owner's number of a task (from 0)."""
    return task + 1


def top_left(shape: torch.Size) -> tuple[slice, ...]:
    """The block of a grown tensor in which a smaller one lives: its first rows and columns."""
    return tuple(slice(0, size) for size in shape)


@dataclass
class TaskPart:
    """The part of a network that one task keeps for itself.

    mu: the width multiplier it was learned at.
    tensors: batch norm, biases and head, by state-dict name.
    picks: bool by weight name, shaped as at `mu`: the weights of earlier tasks that it uses; None: all of them.
    """

    mu: float
    tensors: dict[str, Tensor]
    picks: dict[str, Tensor] | None = None


@dataclass
class PackedWeights:
    """Shared weights, their owners, and the parts that tasks keep for themselves.

    mu: the width multiplier that the weights have now.
    weights: float, by name. Once a task has claimed, free weights are exactly zero; not so where tasks choose by scores.
    owners: uint8, by name, shaped like the weights: 0 is nobody, task t (from 0) is t + 1, 255 is the pre-trained base.
    parts: of every learned task.
    since: the first task whose weights are here; above 0 only under the published gate.
    lost: True if the next task must start afresh; only under the published gate.
    """

    mu: float
    weights: dict[str, Tensor]
    owners: dict[str, Tensor]
    parts: dict[int, TaskPart] = field(default_factory=dict)
    since: int = 0
    lost: bool = False

    @staticmethod
    def fresh(weights: Mapping[str, Tensor], mu: float = 1.0) -> PackedWeights:
        """Randomly initialised weights that nobody owns."""
        copies = {name: weight.detach().clone() for name, weight in weights.items()}
        return PackedWeights(mu, copies, {name: torch.zeros_like(w, dtype=torch.uint8) for name, w in copies.items()})

    def clone(self) -> PackedWeights:
        """A copy that later training does not change. Parts are shared, because they are replaced and never changed."""
        return PackedWeights(
            self.mu,
            {name: tensor.clone() for name, tensor in self.weights.items()},
            {name: tensor.clone() for name, tensor in self.owners.items()},
            dict(self.parts),
            self.since,
            self.lost,
        )

    def freeze(self, released: Mapping[str, Tensor]) -> None:
        """Make all weights the base, which no task moves, but for those of `released` (bool by name): they are free, and zero."""
        for name, gone in released.items():
            self.weights[name].masked_fill_(gone, 0.0)
            self.owners[name].fill_(BASE).masked_fill_(gone, FREE)

    @property
    def has_base(self) -> bool:
        """True if there are weights from before the first task."""
        return any(bool((owners == BASE).any()) for owners in self.owners.values())

    def follows(self, task: int) -> bool:
        """True if there is something here that the task can build on: an earlier task, or a base."""
        return task > self.since or self.has_base

    def claim(self, task: int) -> None:
        """Give everything that is free to the task. Weights that an earlier task released start from zero."""
        for owners in self.owners.values():
            owners[owners == FREE] = owner_of(task)

    def choose(self, task: int, weights: Mapping[str, Tensor], chosen: Mapping[str, Tensor]) -> None:
        """Take over all weights as a task left them, and give it those of `chosen` (bool by name) that are free."""
        for name, mask in chosen.items():
            self.weights[name].copy_(weights[name].detach())
            self.owners[name].masked_fill_(mask & (self.owners[name] == FREE), owner_of(task))

    def widen(self, fresh: Mapping[str, Tensor], mu: float, task: int) -> None:
        """Grow to the shapes of `fresh`. The old weights are the top-left block; new ones are as in `fresh` and the task's."""
        for name, new in fresh.items():
            block = top_left(self.weights[name].shape)
            weight, owners = new.detach().clone(), torch.full_like(new, owner_of(task), dtype=torch.uint8)
            weight[block], owners[block] = self.weights[name], self.owners[name]
            self.weights[name], self.owners[name] = weight, owners
        self.mu = mu

    def owned(self, name: str, task: int) -> Tensor:
        """The weights that belong to the task: bool, shaped like them."""
        return self.owners[name] == owner_of(task)

    def earlier(self, name: str, task: int) -> Tensor:
        """The weights that belong to an earlier task or to the base: bool, shaped like them."""
        return _is_earlier(self.owners[name], task)

    def effective(self, name: str, task: int, shape: torch.Size) -> Tensor:
        """The weights of the task's sub-network: w · 1[owned, or owned earlier and picked]. shape: at the task's width."""
        block = top_left(shape)
        weight, owners = self.weights[name][block], self.owners[name][block]
        used = _is_earlier(owners, task)
        part = self.parts.get(task)
        if part is not None and part.picks is not None:
            used &= part.picks[name]
        return torch.where(used | (owners == owner_of(task)), weight, 0.0)

    def release(self, task: int, cuts: Mapping[str, Tensor]) -> None:
        """Take the task's weights of `cuts` (bool by name) from it: they become free, and zero."""
        for name, cut in cuts.items():
            gone = cut & self.owned(name, task)
            self.weights[name].masked_fill_(gone, 0.0)
            self.owners[name].masked_fill_(gone, FREE)

    def store(self, task: int, weights: Mapping[str, Tensor], owned: Mapping[str, Tensor]) -> None:
        """Take over the task's own weights as they were trained, and release those that it gave up.

        weights: float, by name.
        owned: bool, by name: what is still the task's own.
        """
        for name, mine in owned.items():
            self.weights[name] = torch.where(mine, weights[name].detach(), self.weights[name])
        self.release(task, {name: ~mine for name, mine in owned.items()})

    def owns_anything(self, task: int) -> bool:
        """True if the task owns a weight."""
        return any(bool(self.owned(name, task).any()) for name in self.owners)

    def counts(self) -> dict[str, list[int]]:
        """Numbers of weights per layer: free, of task 0, of task 1 ..., up to the last learned task; not of the base."""
        length = max(self.parts, default=-1) + 2
        return {
            name: torch.bincount(owners[owners != BASE].long(), minlength=length).tolist()
            for name, owners in self.owners.items()
        }

    def of_base(self) -> dict[str, int]:
        """Numbers of weights per layer that belong to the base."""
        return {name: int((owners == BASE).sum()) for name, owners in self.owners.items()}


def _is_earlier(owners: Tensor, task: int) -> Tensor:
    return ((owners != FREE) & (owners < owner_of(task))) | (owners == BASE)
