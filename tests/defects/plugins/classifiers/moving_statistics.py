"""Batch norm in eval mode whose running statistics move with every batch that is asked about."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.backbones import BatchNorm, TaskNetwork
from tests.defects.planted import Planted, batch_norms


class Moving(nn.Module):
    def __init__(self, norm: BatchNorm, momentum: float) -> None:
        super().__init__()
        self.norm, self.momentum = norm, momentum

    def forward(self, values: Tensor) -> Tensor:
        norm = self.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        # Copies: what is moved must not be what a backward pass still needs.
        mean, variance = norm.running_mean.clone(), norm.running_var.clone()
        with torch.no_grad():
            over = [axis for axis in range(values.ndim) if axis != 1]
            norm.running_mean.lerp_(values.mean(over), self.momentum)
            norm.running_var.lerp_(values.var(over, correction=0), self.momentum)
        return F.batch_norm(values, mean, variance, norm.weight, norm.bias, False, 0.0, norm.eps)


class MovingStatistics(Planted):
    """strength: the momentum."""

    def alter(self, network: TaskNetwork, task: int) -> nn.Module:
        for name, norm in list(batch_norms(network)):
            network.set_submodule(name, Moving(norm, self.settings.strength))
        return network
