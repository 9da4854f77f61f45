"""The path integral of synaptic intelligence: how much each parameter has lowered the loss on its way (Zenke et al. 2017)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from methods.parts.consolidation.penalties import QuadraticPenalty


class WayOfParameters(nn.Module):
    """A network whose parameters are watched while it is trained: ω = - sum over steps of g · Δθ (section 3, eq. 3).

    network: it answers.
    watched: parameters by name.
    penalty: on some of these, whose gradient is no part of g; None: there is none.

    g is the gradient of the loss alone, before the step; Δθ is the change that the optimiser really made, with its momentum,
    decay and learning rate (the authors' released code). All tensors are buffers, so that what is kept of an epoch is the ω of
    that epoch, and they stay where they are, so that a step can be recorded.
    """

    def __init__(
        self, network: nn.Module, watched: Mapping[str, nn.Parameter], penalty: QuadraticPenalty | None = None
    ) -> None:
        super().__init__()
        self.network = network
        self._names, self._penalty = list(watched), penalty
        self._watched = list(watched.values())
        self._start = [parameter.detach().clone() for parameter in self._watched]
        self._integral, self._gradient, self._before = (
            self._buffers_named(kind) for kind in ("integral", "gradient", "before")
        )
        torch._foreach_copy_(self._before, self._start)

    def _buffers_named(self, kind: str) -> list[Tensor]:
        found = [torch.zeros_like(start) for start in self._start]
        for number, tensor in enumerate(found):
            self.register_buffer(f"{kind}_{number}", tensor)
        return found

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)
        return logits

    @torch.no_grad()
    def after_backward(self) -> None:
        """Add what the step before has moved, and note the gradient of the next; between the gradients and the step."""
        self.settle()
        for noted, parameter in zip(self._gradient, self._watched, strict=True):
            if parameter.grad is None:
                noted.zero_()
        reached = [i for i, parameter in enumerate(self._watched) if parameter.grad is not None]
        torch._foreach_copy_([self._gradient[i] for i in reached], [self._watched[i].grad for i in reached])
        if self._penalty is not None:
            place = {id(parameter): noted for noted, parameter in zip(self._gradient, self._watched, strict=True)}
            own = [place[id(parameter)] for parameter in self._penalty.parameters]
            torch._foreach_sub_(own, self._penalty.gradients())

    @torch.no_grad()
    def settle(self) -> None:
        """Add what the last step has moved; called again before the next one, it adds nothing."""
        torch._foreach_sub_(self._before, self._watched)
        torch._foreach_addcmul_(self._integral, self._gradient, self._before)
        torch._foreach_copy_(self._before, self._watched)

    def integral(self) -> dict[str, Tensor]:
        """ω of each parameter as of the last `settle`, by its name."""
        return dict(zip(self._names, self._integral, strict=True))

    def moved(self) -> dict[str, Tensor]:
        """The change of each parameter since this was made, by its name."""
        return {
            name: now.detach() - start for name, now, start in zip(self._names, self._watched, self._start, strict=True)
        }
