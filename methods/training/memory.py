"""The memory that a training step takes: counted on steps of a few images, and told where a step does not fit."""

from __future__ import annotations

import dataclasses
import gc
import weakref
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from attacks.memory import free_bytes
from methods.training.fit import Fit
from methods.training.inner_attack import Batch, InnerAttack
from methods.training.recipe import Recipe

SPARE = 0.8
"""Share of free memory that a step is advised to take: kernels need room of their own, and free memory lies in pieces."""


class StepTooLarge(Exception):
    """A training step needs more memory than there is; the message is one line."""


@dataclass(frozen=True, slots=True)
class StepMemory:
    """The memory of a training step, without the work space of kernels.

    held: bytes of weights, gradients and the optimisers' state.
    per_image: bytes of each image that goes through the network at once: activations, the attack's copies, what is computed.
    """

    held: int
    per_image: int

    def of(self, images: int) -> int:
        """Bytes of a step that sends so many images through the network at once."""
        return self.held + images * self.per_image


class LiveBytes(TorchDispatchMode):
    """Counts, operation by operation, the bytes of tensors that were made inside the block and are still alive.

    after: bytes after each operation.
    """

    def __init__(self) -> None:
        super().__init__()
        self.after: list[int] = []
        self._live = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        given = {_storage(each)._cdata for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)}
        for tensor in tree_leaves(found):
            if isinstance(tensor, Tensor):
                self._count(_storage(tensor), given)
        self.after.append(self._live)
        return found

    def _count(self, storage: torch.UntypedStorage, given: set[int]) -> None:
        """Count a storage until it is gone. given: those of the operation's inputs, which its outputs may be views of."""
        key, size = storage._cdata, storage.nbytes()
        if key in given or key in self._known:
            return
        self._known.add(key)
        self._live += size
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._live -= size


def _storage(tensor: Tensor) -> torch.UntypedStorage:
    return tensor.untyped_storage()


def step_memory(
    fit: Fit, attack: InnerAttack, recipe: Recipe, optimizer: torch.optim.Optimizer, batch: Batch
) -> StepMemory:
    """The memory of a step, counted on steps of two and of four images, which are made: the network is another one afterwards.

    batch: at least four images.
    """
    # A second step of the attack takes no more than the first.
    attack, recipe = dataclasses.replace(attack, steps=1), recipe.model_copy(update={"micro_batch": None})
    curves = []
    for count in (2, 4):
        # A place of its own: what an objective carries from step to step is shaped like a batch.
        few = Batch(batch.images[:count], batch.labels[:count], batch.tasks[:count], first=-count)
        fit.network.train()
        # Gradients and the optimisers' state are there before it counts.
        fit.move(few, attack, recipe, optimizer)
        with LiveBytes() as live:
            fit.move(few, attack, recipe, optimizer)
        curves.append(live.after)
    small, large = curves
    # At each operation by itself: what does not grow with the images peaks elsewhere.
    grown = [b - a for a, b in zip(small, large, strict=True)] if len(small) == len(large) else [max(large) // 2]
    return StepMemory(_held(fit, optimizer), max(grown) // 2)


def _held(fit: Fit, optimizer: torch.optim.Optimizer) -> int:
    optimizers = [optimizer, *([fit.second.optimizer] if fit.second else [])]
    states = [value for each in optimizers for state in each.state.values() for value in state.values()]
    tensors = [*fit.network.parameters(), *fit.network.buffers(), *(p.grad for p in fit.network.parameters()), *states]
    return sum({tensor.data_ptr(): tensor.nbytes for tensor in tensors if isinstance(tensor, Tensor)}.values())


def too_large(
    fit: Fit, attack: InnerAttack, recipe: Recipe, optimizer: torch.optim.Optimizer, batch: Batch
) -> StepTooLarge:
    """The error to raise when a step ran out of memory, with the number of images that would fit, as measured now.

    batch: of the step. The step's own tensors, and the error that came of it, must be gone.
    """
    device, part = batch.images.device, batch.parts(recipe.micro_batch)[0]
    size, shape = len(part.labels), "x".join(map(str, batch.images.shape[1:]))
    fit.clear_gradients(optimizer)
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    said, most = f"a training step on {size} images of {shape} at once ran out of memory", size // 2
    try:
        found = step_memory(fit, attack, recipe, optimizer, batch)
    except RuntimeError:
        most = min(most, 1)
    else:
        free = free_bytes(device)
        said += f": it takes about {found.of(size) / 1e9:.2g} GB"
        if free is not None:
            said += f", of which {size * found.per_image / 1e9:.2g} GB are for images, and {free / 1e9:.2g} GB are free"
            # Although the estimate may say that it fits: it did not.
            most = min(most, int(SPARE * free / max(1, found.per_image)))
    slower = "" if recipe.recompute else "recipe.recompute=true (slower), "
    if most < 1:
        return StepTooLarge(f"{said}; not one image fits: set {slower}smaller images, or a narrower backbone")
    return StepTooLarge(f"{said}; set recipe.micro_batch={most}, {slower}or recipe.batch_size={max(2, most)}")
