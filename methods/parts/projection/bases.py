"""Directions in which weights must not move, and gradients that leave them alone: gradient projection memory.

Saha, Garg and Roy 2021, section 5: per layer an orthonormal basis M (d, k) of the inputs of old images; a gradient G (outputs, d)
becomes G − G M M'.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from methods.parts.projection.representations import InputColumns

Bases = dict[str, Tensor]
"""By name of a weight: float32 (d, k), orthonormal columns; d as in `weight.flatten(1)`."""


def grow(bases: Bases, found: Mapping[str, InputColumns], share: float) -> None:
    """Add to each basis the fewest directions with which it holds a share (0 to 1) of the energy of its layer's columns."""
    for name, columns in found.items():
        known = bases.get(name)
        if known is None:
            known = torch.zeros(columns.rows, 0, device=columns.device)
        grown = torch.cat([known, columns.leading(known, share).float()], 1)
        # In rows, as a stored state gives it back: products of another layout are rounded otherwise.
        bases[name] = grown.contiguous()


class Projection:
    """The weights of a network, with the directions in which a training may not move them.

    weights: by name; where they are now is where they stay, as far as a basis reaches.
    bases: they stay as they are.
    weight_decay: of the optimiser that will use the gradients (added to them, times the weight): it may move nothing either.
    """

    def __init__(self, weights: Mapping[str, nn.Parameter], bases: Bases, weight_decay: float) -> None:
        self._weight_decay = weight_decay
        self._guarded = [(weights[name], _projector(basis)) for name, basis in bases.items() if basis.shape[1]]
        self._start: list[Tensor] = []

    @torch.no_grad()
    def project_gradients(self) -> None:
        """Take the part inside the bases out of the gradients and of the decay that the optimiser will add to them.

        Exact for SGD, with momentum too, since a sum of such steps stays outside. Nothing waits for the device.
        """
        for weight, inside in self._guarded:
            assert weight.grad is not None
            moving = weight.grad
            if self._weight_decay:
                moving = moving.add(weight, alpha=self._weight_decay)
            weight.grad.sub_(inside(moving.flatten(1)).view_as(weight.grad))

    @torch.no_grad()
    def hold(self) -> None:
        """Remember where the weights are, for `put_back`."""
        self._start = [weight.detach().clone() for weight, _ in self._guarded]

    @torch.no_grad()
    def put_back(self) -> None:
        """Take the part inside the bases out of how far the weights have moved since `hold`.

        For optimisers that scale gradients entry by entry, such as Adam, whose steps leave the space of projected gradients.
        """
        for (weight, inside), start in zip(self._guarded, self._start, strict=True):
            weight.sub_(inside((weight - start).flatten(1)).view_as(weight))


def _projector(basis: Tensor) -> Callable[[Tensor], Tensor]:
    """The function from rows (outputs, d) to their parts inside a basis, in the cheapest of three forms."""
    size, count = basis.shape
    if count == size:
        return lambda rows: rows
    if 2 * count <= size:
        return lambda rows: (rows @ basis) @ basis.T
    # M M' once and for all, as in the released code: half as much work for a large basis.
    square = basis @ basis.T
    return lambda rows: rows @ square
