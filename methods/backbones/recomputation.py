"""Activations that are computed again where a gradient needs them, and not kept until then (Chen et al. 2016).

Layers go in segments. What lies between two segments is kept; what lies within one is computed again for the gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd
from torch.utils.checkpoint import checkpoint

from methods.backbones.base import Backbone, BatchNorm, Residual

_POOLINGS = (nn.MaxPool2d, nn.AvgPool2d)


@contextmanager
def recomputing(network: nn.Module) -> Iterator[None]:
    """Let the backbones of a network, and of copies that are made of it inside the block, compute activations again.

    A backbone of one segment, such as a model of timm, runs as ever, and so does what calls the layers past the backbone.
    """
    backbones = [module for module in network.modules() if isinstance(module, Backbone)]
    for backbone in backbones:
        backbone.through = recomputed
    try:
        yield
    finally:
        for backbone in backbones:
            # Nothing stays behind, not even that there was something.
            del backbone.through


def recomputed(layers: nn.Sequential, images: Tensor) -> Tensor:
    """The layers' output, with the same gradients and running statistics as ever, but for rounding.

    layers: their modes and weights stay as they are until the gradients are taken.
    """
    parts = segments(layers)
    if torch.is_grad_enabled():
        # The gradient begins with the last segment: computing that again at once would save nothing.
        for part in parts[:-1]:
            images = checkpoint(
                _one_after_another,
                part,
                images,
                use_reentrant=False,
                # A step that is recorded cannot read the state of the global generators, from which dropout alone draws.
                preserve_rng_state=any(isinstance(module, _DropoutNd) for module in _within(part)),
                context_fn=partial(_contexts, part),
            )
        parts = parts[-1:]
    for part in parts:
        images = _one_after_another(part, images)
    return images


def segments(layers: Sequence[nn.Module] | nn.Sequential) -> list[list[nn.Module]]:
    """The layers in segments: one for each residual block with what follows it, one for all up to each pooling.

    So no segment begins with a ReLU in place, which would overwrite what is kept, and maps between segments are small.
    """
    found: list[list[nn.Module]] = [[]]
    for before, layer in pairwise([nn.Identity(), *layers]):
        if found[-1] and (isinstance(layer, Residual) or isinstance(before, _POOLINGS)):
            found.append([])
        found[-1].append(layer)
    return found


def _one_after_another(layers: Sequence[nn.Module], images: Tensor) -> Tensor:
    for layer in layers:
        images = layer(images)
    return images


def _within(layers: Sequence[nn.Module]) -> Iterator[nn.Module]:
    for layer in layers:
        yield from layer.modules()


def _contexts(layers: Sequence[nn.Module]) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Blocks for the first computation and for those after it."""
    return nullcontext(), _StatisticsKept(layers)


class _StatisticsKept(AbstractContextManager[None]):
    """Lets batch norm leave its running statistics alone, although it sees a batch.

    It is still given them: the tensors that autograd saves must be the same ones as in the first computation. The block may be
    entered again: a second derivative computes a segment twice.
    """

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        self._layers = layers
        self._before: list[tuple[BatchNorm, float | None, Tensor | None]] = []

    def __enter__(self) -> None:
        norms = [module for module in _within(self._layers) if isinstance(module, BatchNorm) and module.training]
        self._before = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
        for norm in norms:
            norm.momentum, norm.num_batches_tracked = 0.0, None

    def __exit__(self, *error: object) -> None:
        for norm, momentum, count in self._before:
            norm.momentum, norm.num_batches_tracked = momentum, count
