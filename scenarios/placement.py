"""The place where images are kept: the memory of a device, that of the host, or a file that is mapped into it.

Images are used from the device that a network is on. What does not fit stays one step further away, and nothing is held twice.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scenarios.tasks import DataError

APPLICATION = "continual-adversarial-benchmark"

SHARE = 0.5
"""Images take at most this share of the memory that is free; the rest is for networks and their activations."""

_CHUNK = 2**26
"""Bytes that are on the way at once when images are put in order."""


def cache_folder() -> Path:
    """`$CONTINUAL_CACHE`, else the application's folder in `$XDG_CACHE_HOME`, else in `~/.cache`."""
    if own := os.environ.get("CONTINUAL_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / APPLICATION


def free_bytes(device: torch.device | str = "cpu") -> float:
    """Bytes of memory that are free on a device for this process; infinite if the system does not say.

    A process that was allowed a part of a GPU has no more than that part, whatever others leave.
    """
    device = torch.device(device)
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        # Of `cuda` without a number torch tells no fraction, and no device is the one in use.
        fraction = torch.cuda.get_per_process_memory_fraction(None if device.index is None else device)
        return max(0, min(free, int(fraction * total) - torch.cuda.memory_allocated(device)))
    if device.type != "cpu":
        return math.inf
    found = [math.inf]
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
        limit, used = (Path("/sys/fs/cgroup", name).read_text() for name in ("memory.max", "memory.current"))
        found.append(int(limit) - int(used))
    except (OSError, ValueError):  # another system, or a container without a limit
        pass
    return min(found)


def device_for(size: int, device: torch.device | str) -> torch.device:
    """The device for training images of `size` bytes: `device`, or the host's if they would take too much of it."""
    device = torch.device(device)
    return device if device.type == "cpu" or size <= SHARE * free_bytes(device) else torch.device("cpu")


def empty_images(shape: Sequence[int]) -> NDArray[np.uint8]:
    """Room for images, uint8 of that shape: in memory or, if they would take too much of it, in a mapped file that has no name.

    Raises DataError if the disk has no room either.
    """
    size = math.prod(shape)
    if size <= SHARE * free_bytes():
        return np.empty(shape, np.uint8)
    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache_folder()) as file:
            # Taken at once: a disk that fills up while a mapped file is written ends the process without a word.
            (os.posix_fallocate if hasattr(os, "posix_fallocate") else _lengthen)(file.fileno(), 0, size)
            return np.memmap(file, np.uint8, "r+", shape=tuple(shape))
    except OSError as error:
        raise DataError(
            f"images take {size / 1e9:.1f} GB, of {free_bytes() / 1e9:.1f} GB of memory that are free, and {cache_folder()} has "
            f"no room for them ({error.strerror}); set CONTINUAL_CACHE to a folder that has, or choose a smaller image_size"
        ) from error


def _lengthen(file: int, start: int, size: int) -> None:
    os.ftruncate(file, start + size)


def gathered(images: NDArray[np.uint8], index: NDArray[np.int64], device: torch.device | str) -> Tensor:
    """Some images on a device, uint8 (M, ...), piece by piece, so that no more than one piece is held twice.

    images: uint8 (N, ...), in memory or mapped.
    index: int64 (M,).
    """
    shape, device = (len(index), *images.shape[1:]), torch.device(device)
    on_host = device.type == "cpu"
    out = torch.from_numpy(empty_images(shape)) if on_host else torch.empty(shape, dtype=torch.uint8, device=device)
    rows = max(1, _CHUNK // max(1, math.prod(shape[1:])))
    for start in range(0, len(index), rows):
        out[start : start + rows] = torch.from_numpy(np.ascontiguousarray(images[index[start : start + rows]]))
    return out


class TrainingImages:
    """Training images of one or more tasks, handed out by minibatches on a device, wherever they are kept.

    parts: uint8 (N, C, H, W) of each task, on the device or on the host.
    """

    def __init__(self, parts: Sequence[Tensor], device: torch.device) -> None:
        self._parts, self._device = parts, device
        self._starts = [0, *accumulate(len(part) for part in parts)][:-1]
        # On a GPU joined images save a wait at every step. On a host they would be held twice, and may be mapped files.
        there = all(part.device.type == device.type for part in parts)
        together = len(parts) == 1 or (there and device.type != "cpu")
        self._whole = (parts[0] if len(parts) == 1 else torch.cat(list(parts))) if there and together else None

    def minibatches(self, order: Tensor, size: int) -> Iterator[Tensor]:
        """The images in that order, `size` at a time: uint8 (size, C, H, W) on the device.

        order: int64 (M,) on the device, places in the parts one after the other.
        """
        if self._whole is not None:
            for index in order.split(size):
                yield self._whole[index]
            return
        # The order is brought to the host once a pass.
        pieces = order.cpu().split(size)
        shape = (min(size, len(order)), *self._parts[0].shape[1:])
        if self._device.type != "cuda":
            for index in pieces:
                out = torch.empty((len(index), *shape[1:]), dtype=torch.uint8)
                self._fill(out, index)
                yield out.to(self._device)
            return
        # Two buffers in turn: one is filled while the other is on its way. Pinned, or the host would wait for the device.
        buffers = [torch.empty(shape, dtype=torch.uint8, pin_memory=True) for _ in range(2)]
        copied = [torch.cuda.Event() for _ in buffers]
        for step, index in enumerate(pieces):
            buffer, event = buffers[step % 2][: len(index)], copied[step % 2]
            event.synchronize()
            self._fill(buffer, index)
            moved = buffer.to(self._device, non_blocking=True)
            event.record()
            yield moved

    def _fill(self, out: Tensor, index: Tensor) -> None:
        for start, part in zip(self._starts, self._parts, strict=True):
            mine = ((index >= start) & (index < start + len(part))).nonzero()[:, 0]
            if len(mine):
                out[mine] = part[(index[mine] - start).to(part.device)].to(out.device)
