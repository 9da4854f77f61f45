"""A GPU as runs use it: divided between worker processes, and lost when it answers a process no more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import torch

OF_DEVICE = ("CUDA error", "CUDA driver error", "CUDNN_STATUS", "CUSOLVER_STATUS")
"""Words of errors of the runtime and the driver of a GPU, and of its libraries. Kernels that are compiled when they are first
needed, as of `lgamma`, are started by the driver."""


class DeviceLost(Exception):
    """The GPU cannot be used any more in this process; the message is one line."""


def share_card(device: torch.device, workers: int) -> None:
    """Let this process take its part of a GPU that so many workers use, and no more. It says so to `free_bytes`."""
    if device.type == "cuda" and workers > 1:
        # Of `cuda` without a number torch takes no fraction, and no device is the one in use.
        torch.cuda.set_per_process_memory_fraction(1 / workers, None if device.index is None else device)


def return_memory(device: torch.device) -> None:
    """Give memory that no tensor is in back to the GPU. A run learns and attacks in turn, in two processes."""
    # Whoever uses a lost GPU next is told.
    if device.type == "cuda":
        with suppress(RuntimeError):
            torch.cuda.empty_cache()


def raise_if_lost(error: BaseException, device: torch.device) -> None:
    """Raise DeviceLost if the device is lost, as an error tells."""
    found = lost(error, device)
    if found is not None:
        raise found from error


def lost(error: BaseException, device: torch.device) -> DeviceLost | None:
    """The loss that an error tells of: it came of the device, and the device answers this process no more. None if it does.

    After an illegal access or a failed assertion in a kernel the process cannot go on, although the GPU can; a GPU that fell off
    its bus answers nobody. Anything else that a classifier or an attack raises leaves the device as it was.
    """
    if isinstance(error, DeviceLost):
        return error
    told = next((first_line(each) for each in _chain(error) if is_of_device(each)), None)
    if told is None or _answers(device):
        return None
    return DeviceLost(f"{device} is lost to this process ({told}); the same command goes on")


def is_of_device(error: BaseException) -> bool:
    """True if the driver or a library of the GPU made the error."""
    said = isinstance(error, RuntimeError) and any(words in str(error) for words in OF_DEVICE)
    return said or isinstance(error, torch.AcceleratorError)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, and those that it came of."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__ or found.__context__


def first_line(error: BaseException) -> str:
    """The error without the lines of advice on how to debug kernels that torch adds."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def _answers(device: torch.device) -> bool:
    """True if the device still computes for this process."""
    try:
        return float(torch.ones(1, device=device).add(1)) == 2
    except RuntimeError:
        return False
