"""CUDA graphs: the kernels of one attack step, launched as one. The CPU path is the same function, not captured.

An attack step on a small batch is hundreds of kernels of microseconds each, and launching them one by one costs more than
running them. A graph is captured once for a shape and replayed for every step of every batch of that shape.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Computation = Callable[..., tuple[Tensor, ...]]

WARM_UPS = 3
"""Runs before a capture, which torch demands: libraries allocate their workspaces in them."""

_captured: weakref.WeakKeyDictionary[nn.Module, dict[Any, Captured | None]] = weakref.WeakKeyDictionary()
"""Graphs, by the classifier whose tensors they read: they are dropped when it is. None: it could not be captured."""


class Captured:
    """A captured `work` that runs on static copies of its tensors. Its settings (non-tensors) stay as they were."""

    def __init__(self, work: Computation, settings: tuple[Any, ...], tensors: tuple[Tensor, ...]) -> None:
        self._inputs = tuple(tensor.clone() for tensor in tensors)
        self._last: tuple[Tensor, ...] = ()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                work(*settings, *self._inputs)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._outputs = work(*settings, *self._inputs)

    def __call__(self, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        for index, (static, tensor) in enumerate(zip(self._inputs, tensors, strict=True)):
            # A tensor that does not change from step to step is the same object, and is copied once.
            if not (index < len(self._last) and self._last[index] is tensor):
                static.copy_(tensor)
        self._last = tensors
        self._graph.replay()
        return tuple(output.clone() for output in self._outputs)


def capturable(work: Computation, key: tuple[Any, ...], classifier: nn.Module, device: torch.device) -> Computation:
    """`work` itself on a CPU; on a GPU a function that captures it per shape and replays the graph.

    work: settings, then tensors → tensors; it must not wait for the device.
    key: names `work`, apart from the classifier: equal keys compute the same.

    A classifier that cannot be captured (because it waits for the device, say) is run as it is.
    """
    if device.type != "cuda":
        return work
    graphs = _captured.setdefault(classifier, {})

    def replayed(*arguments: Any) -> tuple[Tensor, ...]:
        tensors = tuple(argument for argument in arguments if isinstance(argument, Tensor))
        settings = arguments[: len(arguments) - len(tensors)]
        shape = (key, settings, *((tensor.shape, tensor.dtype) for tensor in tensors))
        if shape not in graphs:
            try:
                graphs[shape] = Captured(work, settings, tensors)
            except RuntimeError:
                graphs[shape] = None
                torch.cuda.synchronize()
        graph = graphs[shape]
        return work(*arguments) if graph is None else graph(tensors)

    return replayed
