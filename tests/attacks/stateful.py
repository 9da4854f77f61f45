"""A classifier with everything that somebody else's code could leave changed, and a look at all of it."""

import random

import numpy as np
import torch
from torch import nn

from tests.attacks.attack_cases import small_conv

CLASSES = 5


class Stateful(nn.Module):
    """Nothing about it is as others' code expects: mixed modes, buffers that every pass changes, some parameters frozen.

    It raises at one pass, if it is told to.
    """

    def __init__(self, fails_at=None):
        super().__init__()
        self.inner = small_conv(CLASSES, 3)
        self.register_buffer("passes", torch.zeros(()))
        self.register_buffer("replaced", torch.zeros(()))
        self.fails_at = fails_at
        self.train()
        self.inner.head.eval()
        self.inner.head.weight.requires_grad_(False)
        for parameter in self.inner.body.parameters():
            parameter.grad = torch.full_like(parameter, 0.25)

    def forward(self, images):
        self.passes.add_(1)
        self.replaced = self.replaced + 1
        if self.fails_at and self.passes >= self.fails_at:
            raise RuntimeError("the classifier broke")
        return self.inner(images)


def everything(classifier):
    """All that must not change, as one comparable text, and the tensors it is made of."""
    tensors = [*classifier.parameters(), *classifier.buffers()]
    return (
        [(name, module.training) for name, module in classifier.named_modules()],
        [(name, value.tolist()) for name, value in classifier.state_dict().items()],
        [(p.requires_grad, None if p.grad is None else p.grad.tolist()) for p in classifier.parameters()],
        [id(tensor) for tensor in tensors],
        torch.get_rng_state().tolist(),
        str(np.random.get_state()),
        random.getstate(),
        torch.is_grad_enabled(),
    )
