"""Modules left in training mode."""

from torch import nn

from methods.backbones import TaskNetwork
from tests.defects.planted import Planted, batch_norms


class LeftInTraining(Planted):
    """strength: the share of the batch norms that are, from the first on; at 1 every module is."""

    def classifier(self, task: int | None) -> nn.Module:
        network = super().classifier(task)
        assert isinstance(network, TaskNetwork)
        if self.settings.strength == 1:
            return network.train()
        norms = [norm for _, norm in batch_norms(network)]
        for norm in norms[: max(1, int(self.settings.strength * len(norms)))]:
            norm.train()
        return network
