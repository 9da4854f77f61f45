"""A recorder that stands in for CUDA graphs where there is no GPU.

It repeats the work itself, and holds it to what a graph demands: nothing waits for the device, and nothing is drawn from a
generator that the graph was not told of.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from methods.training.captured import Outcome

WAITING = (
    torch.ops.aten._local_scalar_dense,
    torch.ops.aten.nonzero,
    torch.ops.aten.is_nonzero,
    torch.ops.aten.equal,
    torch.ops.aten.masked_select,
    torch.ops.aten._unique2,
)
"""Operations that make the host wait for a number."""


class _OnADevice(TorchDispatchMode):
    """Raises RuntimeError as torch does while it captures."""

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        self._generators = generators

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        by_mask = func.overloadpacket is torch.ops.aten.index and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        if (func.overloadpacket in WAITING or by_mask) and not _in_an_optimizer():
            raise RuntimeError(f"operation not permitted when stream is capturing: {func}")
        if torch.Tag.nondeterministic_seeded in func.tags and func.overloadpacket is not torch.ops.aten.dropout:
            drawn_from = kwargs.get("generator") or next((a for a in args if isinstance(a, torch.Generator)), None)
            # Generators reach this place as other Python objects, so they are known by their state.
            if drawn_from is None or not any(
                torch.equal(drawn_from.get_state(), each.get_state()) for each in self._generators
            ):
                raise RuntimeError(f"{func} draws from a generator that is not registered")
        return func(*args, **kwargs)


def _in_an_optimizer() -> bool:
    """True inside torch's optimisers: on a CPU they count steps on the host, on a GPU (`fused`) they do not."""
    frame = sys._getframe()
    while frame is not None and "torch/optim/" not in frame.f_code.co_filename:
        frame = frame.f_back  # type: ignore[assignment]
    return frame is not None


class StandIn:
    """Records by holding on to the work. repeated: how many steps were repeated."""

    def __init__(self) -> None:
        self.repeated = self.asides = 0

    @contextmanager
    def aside(self) -> Iterator[None]:
        self.asides += 1
        yield

    def record(self, work: Callable[[], Outcome], generators: Sequence[torch.Generator]) -> Callable[[], Outcome]:
        def repeat() -> Outcome:
            self.repeated += 1
            with _OnADevice(generators):
                return work()

        return repeat


class Refusing(StandIn):
    """Cannot record."""

    def record(self, work: Callable[[], Outcome], generators: Sequence[torch.Generator]) -> Callable[[], Outcome]:
        raise RuntimeError("operation not permitted when stream is capturing\nand more")


def moved_elsewhere(network: nn.Module) -> None:
    """Give every parameter of a network other memory, with the same values."""
    for parameter in network.parameters():
        parameter.data = parameter.data.clone()
