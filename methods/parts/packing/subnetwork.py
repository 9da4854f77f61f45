"""A task's sub-network while it is trained: a plain network of effective weights, of which only the task's own move.

No mask is applied in a forward pass, so an attack step costs as much as in any network. Masks act twice per optimiser step: on
the gradients before it, and on the picked weights of earlier tasks after it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from methods.backbones import BatchNorm, TaskNetwork
from methods.parts.packing.ownership import PackedWeights
from methods.training import SecondOptimizer, Step, make_adam

OF_TRAINING = ("pick_masks", "owned", "latent", "scores", "choices")
"""Beginnings of the names in a sub-network's state that are not the task's network."""
PICK_START, PICK_THRESHOLD = 0.01, 0.005
"""Hung et al. 2019: pick-masks start at .01; a weight is picked while its mask is above .005."""


class Subnetwork(TaskNetwork):
    """The network of one task, trained inside `packed`.

    network: holds the effective weights (`PackedWeights.effective`), and the batch norm, biases and head to start from.
    weight_decay: on the task's own shared weights only (PackNet's and CPG's rule).
    batch_norm, biases: False: they stay as they are, batch norm in eval mode (Mallya's variant).

    shared: the shared weights, by name.
    own, earlier: bool by weight name, the weights of the task and of earlier ones.
    """

    def __init__(
        self,
        network: TaskNetwork,
        packed: PackedWeights,
        task: int,
        *,
        weight_decay: float,
        batch_norm: bool = True,
        biases: bool = True,
    ) -> None:
        super().__init__(network.backbone, network.head, network.mean, network.std)
        self.weight_decay, self._holds_batch_norm = weight_decay, not batch_norm
        self.shared = dict(self.backbone.shared_weights())
        # Registered, so that the ownership of a selected epoch comes back with its weights.
        self.owned = nn.Module()
        for name, weight in self.shared.items():
            self.owned.register_buffer(name.replace(".", "-"), like(packed.owned(name, task), weight))
        self.earlier = {name: like(packed.earlier(name, task), weight) for name, weight in self.shared.items()}
        self._packed = packed
        # Registered, so that the masks of a selected epoch are kept with its weights.
        self.pick_masks = nn.ParameterList()
        self._unpicked: dict[str, Tensor] = {}
        for module in self.backbone.modules():
            if isinstance(module, BatchNorm):
                module.requires_grad_(batch_norm)
            elif getattr(module, "bias", None) is not None:
                module.bias.requires_grad_(biases)

    @property
    def plain(self) -> TaskNetwork:
        """The same network without what is kept about it. An attack that records its steps records those of all stages as one."""
        return TaskNetwork(self.backbone, self.head, self.mean, self.std)

    @property
    def own(self) -> dict[str, Tensor]:
        """The weights that the task owns: bool, by name."""
        return {name: self.owned.get_buffer(name.replace(".", "-")) for name in self.shared}

    def train(self, mode: bool = True) -> Subnetwork:
        super().train(mode)
        if self._holds_batch_norm:
            for module in self.backbone.modules():
                if isinstance(module, BatchNorm):
                    module.eval()
        return self

    def trained(self) -> list[nn.Parameter]:
        """The parameters that the recipe's optimiser moves: shared weights (gradients masked), batch norm, biases, head."""
        masks = {id(mask) for mask in self.pick_masks}
        return [p for p in self.parameters() if p.requires_grad and id(p) not in masks]

    @property
    def is_picking(self) -> bool:
        """True if it says which weights of earlier tasks it uses (`picks`); else it uses all of them, or those of before."""
        return len(self.pick_masks) > 0

    # -- picks ----------------------------------------------------------------------------------------------------------

    def learn_picks(self, rate: Callable[[int], float]) -> SecondOptimizer:
        """Start with every weight of earlier tasks picked, and let Adam move the masks. rate: epoch (from 0) → learning rate."""
        self.pick_masks = nn.ParameterList(torch.full_like(weight, PICK_START) for weight in self.shared.values())
        self._unpicked = {
            name: torch.where(self.earlier[name], like(self._packed.weights[name], weight), 0.0)
            for name, weight in self.shared.items()
        }
        self.apply_picks()
        return SecondOptimizer(make_adam(self.pick_masks, rate(0)), rate)

    def picks(self) -> dict[str, Tensor]:
        """The weights of earlier tasks that are in use: bool, by name."""
        return {
            name: self.earlier[name] & (mask > PICK_THRESHOLD)
            for name, mask in zip(self.shared, self.pick_masks, strict=True)
        }

    @torch.no_grad()
    def apply_picks(self) -> None:
        """Make the weights of earlier tasks effective: w where picked, else 0."""
        for (name, weight), mask in zip(self.shared.items(), self.pick_masks, strict=True):
            weight.copy_(torch.where(self.earlier[name], self._unpicked[name] * (mask > PICK_THRESHOLD), weight))

    # -- the two places where masks act -----------------------------------------------------------------------------------

    @torch.no_grad()
    def mask_gradients(self) -> None:
        """Mask the gradients after the backward pass.

        Masks of earlier tasks' weights: dL/dm = dL/dw_eff · w (straight-through).
        The task's own weights: their gradient, and weight decay.
        All other weights: no gradient.
        """
        for mask, (name, weight) in zip(self.pick_masks, self.shared.items(), strict=False):
            mask.grad = weight.grad * self._unpicked[name]
        for weight, own in zip(self.shared.values(), self.own.values(), strict=True):
            assert weight.grad is not None
            weight.grad.add_(weight, alpha=self.weight_decay).mul_(own)

    def after_step(self, step: Step) -> None:
        """Let what was picked or dropped take effect, after the optimisers' step."""
        if self.pick_masks:
            self.apply_picks()

    @torch.no_grad()
    def release(self, cuts: Mapping[str, Tensor], optimizer: torch.optim.Optimizer | None = None) -> None:
        """Take the task's weights of `cuts` (bool by name) from it: they become zero, and so does every momentum behind them."""
        for (name, weight), own in zip(self.shared.items(), self.own.values(), strict=True):
            gone = own & cuts[name]
            own &= ~gone
            weight.masked_fill_(gone, 0.0)
            for kept in (optimizer.state[weight] if optimizer else {}).values():
                if isinstance(kept, Tensor) and kept.shape == weight.shape:
                    kept.masked_fill_(gone, 0.0)


def like(tensor: Tensor, weight: Tensor) -> Tensor:
    """A copy of the tensor in the weight's memory format: mixed formats make every elementwise operation slow."""
    return torch.empty_like(weight, dtype=tensor.dtype, requires_grad=False).copy_(tensor)
