"""The most that a machine computes: large matrix products, timed in the same run, and the operations of a network beside them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmark.commands.timing.clock import Clock
from benchmark.evaluating.determinism import full_precision

DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}


def operations_of_forward(network: nn.Module, images: Tensor) -> float:
    """Floating-point operations of one forward pass of one image; a multiplication with its addition counts two."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(images[:1])
    return float(counter.get_total_flops())


def measured_peaks(clock: Clock) -> dict[str, float]:
    """Operations per second of a large matrix product, by precision; without a precision that the device does not have."""
    side = 2048 if clock.device.type == "cpu" else 8192
    found = {}
    for name, dtype in DTYPES.items():
        try:
            left = torch.rand(side, side, device=clock.device).to(dtype)
            right = torch.rand(side, side, device=clock.device).to(dtype)
            with full_precision():
                (seconds,) = clock.medians(lambda a=left, b=right: a @ b, share=1 / len(DTYPES))  # type: ignore[misc]
        except RuntimeError:
            continue
        found[name] = 2 * side**3 / seconds
    return found
