"""Attacks that do not wait: their decisions stay on the device, and the host looks at them every so many steps.

Between two looks the rows of images that are broken already go on. They are not live: nothing of theirs is noted or counted, so
that results, counts and traces are those of a look at every step.
"""

from __future__ import annotations

import torch
from torch import Tensor

from attacks.base import Trace

STEPS_BETWEEN_LOOKS = {"cpu": 1, "cuda": 8}
"""By device. On a CPU a look costs nothing and a row that is broken costs a whole row. On a GPU the host has to keep ahead of the
device, and a look throws its lead away; of 100 steps, 8 leave a broken image 4 steps too many on average."""

FREE = frozenset({"cpu"})
"""Devices of which the host waits for nothing when it looks at what they have computed."""


def looks_are_free(device: torch.device) -> bool:
    """True if the host waits for nothing when it looks at what the device has computed."""
    return device.type in FREE


def steps_between_looks(device: torch.device) -> int:
    """Steps from one look of the host at what is broken to the next."""
    return STEPS_BETWEEN_LOOKS["cpu" if looks_are_free(device) else "cuda"]


def equal_slices(rows: int, count: int) -> list[slice]:
    """The places of `count` equal groups of rows, one after another. count: a divisor of `rows`."""
    each = rows // count
    return [slice(group * each, (group + 1) * each) for group in range(count)]


class LiveTrace:
    """The trace of a run while it is on the device: means over the rows that are live."""

    def __init__(self) -> None:
        self._losses: list[Tensor] = []
        self._shares: list[Tensor] = []

    def iterate(self, loss: Tensor, live: Tensor) -> None:
        """Note the losses at an iterate. loss: float (M,). live: bool (M,)."""
        self._losses.append(_sums(live, loss))

    def gradient(self, zero: Tensor, non_finite: Tensor, live: Tensor) -> None:
        """Note a gradient. zero, non_finite: float (M,), shares of its entries. live: bool (M,)."""
        self._shares.append(_sums(live, zero, non_finite))

    def trace(self) -> Trace:
        """As far as there were live rows, in one transfer to the host each."""
        losses, shares = _means(self._losses), _means(self._shares)
        return Trace([loss for (loss,) in losses], [zero for zero, _ in shares], [lost for _, lost in shares])


def _sums(live: Tensor, *values: Tensor) -> Tensor:
    return torch.stack([live.sum().to(values[0]), *(torch.where(live, value, 0).sum() for value in values)])


def _means(rows: list[Tensor]) -> list[list[float]]:
    if not rows:
        return []
    table = torch.stack(rows)
    counts = table[:, 0].tolist()
    means = (table[:, 1:] / table[:, :1]).tolist()
    return [mean for mean, count in zip(means, counts, strict=True) if count]
