"""Batch norm that takes its statistics from the batch, in a module that says it is in eval mode."""

import torch
from torch import Tensor, nn

from methods.backbones import BatchNorm, TaskNetwork
from tests.defects.planted import Planted, batch_norms


class OfTheBatch(nn.Module):
    """A batch norm whose mean and variance are the batch's by `share`, its running ones by the rest."""

    def __init__(self, norm: BatchNorm, share: float) -> None:
        super().__init__()
        self.norm, self.share = norm, share

    def forward(self, values: Tensor) -> Tensor:
        over = [axis for axis in range(values.ndim) if axis != 1]
        shape = (1, -1) + (1,) * (values.ndim - 2)
        assert self.norm.running_mean is not None
        assert self.norm.running_var is not None
        mean = torch.lerp(self.norm.running_mean, values.mean(over), self.share).reshape(shape)
        variance = torch.lerp(self.norm.running_var, values.var(over, correction=0), self.share).reshape(shape)
        normal = (values - mean) / (variance + self.norm.eps).sqrt()
        return normal * self.norm.weight.reshape(shape) + self.norm.bias.reshape(shape)


class BatchStatistics(Planted):
    """strength: the batch's part of the statistics."""

    def alter(self, network: TaskNetwork, task: int) -> nn.Module:
        for name, norm in list(batch_norms(network)):
            network.set_submodule(name, OfTheBatch(norm, self.settings.strength))
        return network
