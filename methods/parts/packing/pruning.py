"""Magnitude pruning: the weights that go, and the steps in which they go.

PackNet (`methods/packnet.py`, `_prune`) cuts at once. CMAT (`methods/cmat.py`) cuts gradually.

Mallya & Lazebnik 2018, section 3.1; Zhu & Gupta 2017, equation 1.
"""

from __future__ import annotations

import torch
from torch import Tensor


def smallest(weights: Tensor, among: Tensor, count: int) -> Tensor:
    """The entries of `among` whose |w| is not above the `count`-th smallest there, ties included: bool, shaped like `weights`.

    weights: float, of any shape.
    among: bool, of the same shape.
    count: 0 (nothing goes) to the number of entries of `among`. Raises ValueError otherwise.
    """
    magnitudes = weights.abs()
    candidates = magnitudes[among]
    if not 0 <= count <= len(candidates):
        raise ValueError(f"cannot cut {count} of {len(candidates)} weights")
    if count == 0:
        return torch.zeros_like(among)
    # Not `torch.quantile`, which refuses more than 2^24 entries: one linear layer of VGG16-BN has as many. Nor `kthvalue`,
    # which a GPU runs on one of its processors.
    return among & (magnitudes <= candidates.topk(count, largest=False, sorted=False).values.max())


def smallest_share(weights: Tensor, among: Tensor, share: float) -> Tensor:
    """As `smallest`, with count = round(share · entries of `among`)."""
    return smallest(weights, among, round(share * int(among.sum())))


def cubic_sparsity(progress: float, start: float, end: float) -> float:
    """Sparsity at `progress` (0..1) of a gradual pruning from `start` to `end`: fast at first, gently at the end."""
    return end + (start - end) * (1 - progress) ** 3


def cut_steps(steps: int, every: int, at_least: int = 4) -> list[int]:
    """The steps (from 1) after which a gradual pruning cuts: each `every`-th and the last, ascending.

    steps: how many the pruning has.
    at_least: if `every` gives fewer cuts, this many are spread evenly; a pruning of fewer steps cuts after each.
    """
    regular = sorted({*range(every, steps + 1, every), steps})
    if len(regular) >= at_least:
        return regular
    return sorted({max(1, round(steps * cut / at_least)) for cut in range(1, at_least + 1)})


def required_ratio(tasks_to_come: int) -> float:
    """The share of its capacity that a task hands back even if its goal is missed: CPG's 1 − round(1 / (T − t + 1), 1).

    tasks_to_come: T − t, how many tasks follow it; 0 for the last one.
    """
    return 1 - round(1 / (tasks_to_come + 1), 1)
