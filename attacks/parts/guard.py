"""A guard of the classifier against others' code: everything is put back afterwards, and random numbers are repeatable.

torchattacks 3.5.1 does this to a classifier that it is given: it calls `eval()`, and if the classifier was in training mode,
`train()` on the whole tree afterwards, in whatever mode the parts were; after an exception it leaves all of it in eval mode. CW,
EAD, FAB, DeepFool, JSMA and PI-FGSM call `backward()`, which adds to `.grad` of all parameters. All draw from the global
generators, and APGD, APGDT, FAB and Square reseed them at every call.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from attacks.starts import Starts

HOST = "cpu"


@contextmanager
def untouched(classifier: nn.Module, start: Starts) -> Iterator[int]:
    """Leave the classifier and the global random state as they were, also after an exception. Gives the seed used inside.

    Inside, the global generators are seeded from the batch, and the parameters take no gradients, because none are used.
    """
    seed = seed_of(start)
    with ExitStack() as stack:
        stack.enter_context(random_state_kept())
        stack.enter_context(classifier_kept(classifier))
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        for parameter in classifier.parameters():
            parameter.requires_grad_(False)
        yield seed


def seed_of(start: Starts) -> int:
    """A seed of 32 bits that depends on the evaluation's seed and key and on the batch's sample ids, in their order."""
    batch = f"torchattacks {start.seed} {start.key} {start.samples.tolist()}"
    return int.from_bytes(hashlib.sha256(batch.encode()).digest()[:4], "little")


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Put back the global generators of torch (CPU, every CUDA device), numpy and `random`."""
    had_cuda = torch.cuda.is_initialized()
    on_gpus = torch.cuda.get_rng_state_all() if had_cuda else []
    on_cpu, of_numpy, of_python = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)
        torch.set_rng_state(on_cpu)
        if had_cuda:
            torch.cuda.set_rng_state_all(on_gpus)
        else:
            # Seeds for devices that are not there yet are queued; the last one counts: the one that the CPU has.
            torch.cuda.manual_seed_all(torch.initial_seed())


@contextmanager
def modes_kept(module: nn.Module) -> Iterator[None]:
    """Put back the mode of each module within one: `train(mode)` would also reach those that are held in eval mode."""
    modes = [(each, each.training) for each in module.modules()]
    try:
        yield
    finally:
        for each, training in modes:
            each.training = training


@contextmanager
def classifier_kept(classifier: nn.Module) -> Iterator[None]:
    """Put back the mode of every module, the tensors that are its parameters and buffers, and their values.

    Parameters also get back their `requires_grad` and `grad`. A tensor is written only if it changed.
    """
    # In inference mode, because tensors that were made there can be written nowhere else.
    with torch.inference_mode():
        modules = [(m, dict(m._parameters), dict(m._buffers)) for m in classifier.modules()]
        values = [(tensor, tensor.clone()) for tensor in [*classifier.parameters(), *classifier.buffers()]]
        gradients = [
            (
                parameter,
                parameter.requires_grad,
                parameter.grad,
                None if parameter.grad is None else parameter.grad.clone(),
            )
            for parameter in classifier.parameters()
        ]
    try:
        with modes_kept(classifier):
            yield
    finally:
        for module, parameters, buffers in modules:
            _rebind(module._parameters, parameters)
            _rebind(module._buffers, buffers)
        with torch.inference_mode():
            for parameter, needs_gradient, gradient, value_ in gradients:
                parameter.requires_grad_(needs_gradient)
                parameter.grad = gradient
                if gradient is not None and value_ is not None:
                    values.append((gradient, value_))
            _write(values)


def _rebind(now: dict[str, Tensor | None], then: dict[str, Tensor | None]) -> None:
    """Put back tensors that were replaced instead of written, as a forward pass may: `self.count = self.count + 1`."""
    # Those of a scripted module are no dict: `keys` gives a list.
    if set(now.keys()) == set(then) and all(now[name] is then[name] for name in then):
        return
    if isinstance(now, dict):
        now.clear()
        now.update(then)
    else:
        for name, tensor in then.items():
            now[name] = tensor


def _write(values: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Give the first tensor of each pair the values of the second, if they differ."""
    gpu = next((tensor.device for tensor, _ in values if tensor.device.type != HOST), None)
    together: list[tuple[Tensor, Tensor]] = []
    apart: list[tuple[Tensor, Tensor]] = []
    for pair in values:
        (together if _lie_alike(*pair, gpu) else apart).append(pair)
    same = [*equal_in_one_wait(together), *(torch.equal(tensor, value) for tensor, value in apart)]
    for (tensor, value), unchanged in zip([*together, *apart], same, strict=True):
        if not unchanged:
            tensor.copy_(value)


def _lie_alike(one: Tensor, other: Tensor, device: torch.device | None) -> bool:
    """True if both lie on the device and can be compared entry by entry."""
    plain = all(each.layout == torch.strided and not each.is_quantized for each in (one, other))
    return plain and one.device == other.device == device and (one.shape, one.dtype) == (other.shape, other.dtype)


def equal_in_one_wait(pairs: Sequence[tuple[Tensor, Tensor]]) -> list[bool]:
    """For each pair, True if its tensors are equal; NaN equals nothing.

    pairs: tensors of the same shape, all on one device. The host waits for it once, and not for each pair: while others use a GPU
    too, every wait lasts until it is this process's turn.
    """
    if not pairs:
        return []
    with torch._C.DisableTorchFunctionSubclass():
        return torch.stack([(one == other).all() for one, other in pairs]).tolist()  # type: ignore[no-any-return]
