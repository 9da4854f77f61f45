"""A network of which only shared weights and head are trained: batch norm, biases and all else stay as they are."""

from __future__ import annotations

from torch import Tensor, nn

from methods.backbones import Backbone, BatchNorm, TaskNetwork


class HeldNetwork(TaskNetwork):
    """A task's network whose batch norm stays in eval mode, and of whose backbone only the shared weights have gradients."""

    def __init__(self, network: TaskNetwork) -> None:
        super().__init__(network.backbone, network.head, network.mean, network.std)
        hold_the_rest(network.backbone)

    def train(self, mode: bool = True) -> HeldNetwork:
        super().train(mode)
        for module in self.backbone.modules():
            if isinstance(module, BatchNorm):
                module.eval()
        return self


def hold_the_rest(backbone: Backbone) -> None:
    """Let gradients reach the shared weights of a backbone, and none of its other parameters."""
    shared = {id(weight) for _, weight in backbone.shared_weights()}
    for parameter in backbone.parameters():
        parameter.requires_grad_(id(parameter) in shared)


def rest_of(module: nn.Module, shared: frozenset[str]) -> dict[str, Tensor]:
    """Copies of all tensors of a module's state but those named in `shared`."""
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items() if name not in shared}
