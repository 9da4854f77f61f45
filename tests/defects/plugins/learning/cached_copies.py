"""A method that claims not to forget hands out copies that it kept, while what it stores of them forgets."""

import copy

import torch
from torch import nn

from methods.base import Context
from scenarios.base import LearnTask, Stream
from tests.defects.planted import Planted


class CachedCopies(Planted):
    """strength: how far the stored networks of old tasks move towards the newest one's; at 1 they are that network."""

    claims = frozenset({"unforgetting"})

    def begin(self, stream: Stream, context: Context) -> None:
        super().begin(stream, context)
        self.copies: dict[int, nn.Module] = {}

    @torch.no_grad()
    def learn(self, task: LearnTask, context: Context) -> None:
        super().learn(task, context)
        newest = self.networks[task.id].backbone.state_dict()
        for old in range(task.id):
            for name, tensor in self.networks[old].backbone.state_dict().items():
                if tensor.is_floating_point():
                    tensor.lerp_(newest[name], self.settings.strength)

    def classifier(self, task: int | None) -> nn.Module:
        assert task is not None
        if task not in self.copies:
            self.copies[task] = super().classifier(task)
        return copy.deepcopy(self.copies[task])
