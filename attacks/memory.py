"""The number of rows of a batch: as many as are fastest, as far as they fit into memory, so that it does not run out."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from attacks.parts.guard import random_state_kept

SHARE = 0.25
"""Share of free memory that a batch's activations may take; the rest is for other workers, libraries and copies."""

PROBE_ROWS = 2
"""Rows of the batch on which activations are counted."""

FASTEST_ROWS = {"fp32": 500, "tf32": 2000, "bf16": 6000, "fp16": 6000}
"""Rows at which image gradients come fastest on a GPU, by the precision of the walk: the fewest within 5 % of the best measured.

Constants, because a batch that each run measured anew would differ from run to run, and predictions with it in the last bits.
Measured on an H200, VGG16-BN at 32x32, with 500, 2,000 and 6,000 rows: float32 13,100, 10,100 and 10,300 a second, TF32 76,000,
89,600 and 92,900, bf16 150,000, 188,000 and 201,500. float16 is taken to be as bf16, and was not measured.
"""


def fastest_rows(precision: str, device: torch.device, batch_size: int) -> int:
    """Rows of a batch that shares its images among the lanes of attacks, where memory allows.

    precision: in which attacks walk.
    batch_size: images at once, at most. On a CPU it is the number of rows too.
    """
    return FASTEST_ROWS[precision] if device.type == "cuda" else batch_size


def rows_that_fit(classifier: nn.Module, images: Tensor, most: int) -> int:
    """Rows of a batch that may be attacked at once: `most`, or fewer where memory is short.

    classifier: in eval mode; nothing is left behind in the generators that it may draw from.
    images: float (N, C, H, W) in [0, 1] of the shape that is attacked, on the device; two are enough.
    """
    with random_state_kept():
        return fitting_rows(most, activation_bytes(classifier, images), free_bytes(images.device))


def activation_bytes(classifier: nn.Module, images: Tensor) -> int:
    """Bytes that one row of a batch takes while it is attacked: what autograd saves, and the attack's copies of the image.

    images: float (N, C, H, W) in [0, 1]; the first two go through the classifier.
    """
    saved: dict[int, int] = {}
    weights = {tensor.data_ptr() for tensor in (*classifier.parameters(), *classifier.buffers())}

    def count(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in weights:
            saved[tensor.data_ptr()] = tensor.nbytes
        # Detached: a result that an operation saves for itself would hold on to the operation, and both stay for ever.
        return tensor.detach()

    probe = images[:PROBE_ROWS].detach().clone().requires_grad_()
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        classifier(probe)
    # Copies of the images: centre, bounds, points, the worst so far, gradient; and as much again for kernels at work.
    copies = 8 * images[0].nbytes
    return 2 * (sum(saved.values()) // len(probe) + copies)


def free_bytes(device: torch.device) -> int | None:
    """Bytes of memory that are still free on the device for this process; None if the system does not say.

    A process that was allowed a part of a GPU has no more than that part, whatever others leave.
    """
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        allocated = torch.cuda.memory_allocated(device)
        # Of `cuda` without a number torch tells no fraction, and no device is the one in use.
        fraction = torch.cuda.get_per_process_memory_fraction(None if device.index is None else device)
        mine = int(fraction * total) - allocated
        return max(0, min(free + torch.cuda.memory_reserved(device) - allocated, mine))
    found = [value for value in (_of_machine(), _of_container()) if value is not None]
    return min(found) if found else None


def _of_machine() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return None


def _of_container() -> int | None:
    folder = Path("/sys/fs/cgroup")
    try:
        return int((folder / "memory.max").read_text()) - int((folder / "memory.current").read_text())
    except (OSError, ValueError):  # no such limit: the file says "max"
        return None


def fitting_rows(wanted: int, per_row: int, free: int | None) -> int:
    """Halve `wanted` until that many rows of `per_row` bytes take at most `SHARE` of `free` bytes; at least 1."""
    rows = wanted
    while free is not None and rows > 1 and rows * per_row > SHARE * free:
        rows //= 2
    return rows
