"""A sub-network whose weights are chosen by scores that are learned with them (Kang et al. 2022, section 3, algorithm 1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from methods.backbones import TaskNetwork
from methods.parts.packing.ownership import PackedWeights
from methods.parts.packing.subnetwork import Subnetwork, like
from methods.training import SecondOptimizer, Step, make_adam


class ScoredSubnetwork(Subnetwork):
    """The network of one task, made of the weights whose |score| is among the highest of their layer.

    packed: weights and owners; what earlier tasks own can be chosen, and does not move.
    scores: float by weight name, to start from.
    capacity: share of each layer's weights that is chosen, 0 to 1.

    A plain network of effective weights w · 1[chosen], made anew after each step of the optimiser: no forward pass masks.
    Weights and scores behind them are part of its state, and so is the choice: those of a selected epoch come back together.
    """

    def __init__(
        self,
        network: TaskNetwork,
        packed: PackedWeights,
        task: int,
        scores: Mapping[str, Tensor],
        *,
        capacity: float,
        weight_decay: float,
    ) -> None:
        super().__init__(network, packed, task, weight_decay=weight_decay)
        self.latent = nn.ParameterList(like(packed.weights[name], weight) for name, weight in self.shared.items())
        self.scores = nn.ParameterList(like(scores[name], weight) for name, weight in self.shared.items())
        self.choices = nn.Module()
        for name, weight in self.shared.items():
            self.choices.register_buffer(_key(name), torch.zeros_like(weight, dtype=torch.bool, requires_grad=False))
        self._counts = [chosen_of(weight.numel(), capacity) for weight in self.shared.values()]
        self.choose()

    @property
    def chosen(self) -> dict[str, Tensor]:
        """The weights that the network is made of: bool, by name."""
        return {name: self.choices.get_buffer(_key(name)) for name in self.shared}

    def trained(self) -> list[nn.Parameter]:
        others = {id(parameter) for parameter in (*self.shared.values(), *self.scores)}
        return [p for p in self.parameters() if p.requires_grad and id(p) not in others]

    def learn_scores(self, rate: Callable[[int], float]) -> SecondOptimizer:
        """Let Adam move the scores. rate: epoch (from 0) → learning rate."""
        return SecondOptimizer(make_adam(self.scores, rate(0)), rate)

    @property
    def is_picking(self) -> bool:
        return True

    def picks(self) -> dict[str, Tensor]:
        return {name: self.earlier[name] & chosen for name, chosen in self.chosen.items()}

    @torch.no_grad()
    def choose(self) -> None:
        """Choose the weights with the highest |score| of each layer, ties included, and make them effective."""
        for (name, weight), latent, score, count in zip(
            self.shared.items(), self.latent, self.scores, self._counts, strict=True
        ):
            height = score.abs()
            # Not `kthvalue`, which a GPU runs on one of its processors.
            lowest = height.flatten().topk(count, sorted=False).values.min()
            chosen = self.chosen[name]
            chosen.copy_(height >= lowest)
            weight.copy_(torch.where(chosen, latent, 0.0))

    @torch.no_grad()
    def mask_gradients(self) -> None:
        """Hand on the gradients of the effective weights after the backward pass.

        Scores: dL/ds = dL/dw_eff · w · sign(s) (straight-through), for owned weights too.
        Chosen weights that no earlier task owns: their gradient, and weight decay.
        All other weights: no gradient.
        """
        for (name, weight), latent, score in zip(self.shared.items(), self.latent, self.scores, strict=True):
            gradient = weight.grad
            assert gradient is not None
            score.grad = gradient * latent * score.sign()
            moves = self.chosen[name] & ~self.earlier[name]
            latent.grad = gradient.add(latent, alpha=self.weight_decay).mul_(moves)
            # No optimiser has it, so nobody else clears it.
            weight.grad = None

    def after_step(self, step: Step) -> None:
        self.choose()


def chosen_of(weights: int, capacity: float) -> int:
    """The number of a layer's weights that are chosen, 1 or more: those from the released code's quantile on."""
    return weights - round((1 - capacity) * (weights - 1))


def _key(name: str) -> str:
    return name.replace(".", "-")
