"""Magnitude pruning: which weights go, and when (Mallya & Lazebnik 2018, section 3.1; Zhu & Gupta 2017, equation 1)."""

from __future__ import annotations

import torch
from torch import Tensor


def smallest(weights: Tensor, among: Tensor, count: int) -> Tensor:
    """Bool, of `weights`' shape: entries of `among` (bool) not above the `count`-th smallest |w| there, ties included.

    count = 0, or an empty `among`: none. Raises ValueError if count exceeds the entries of `among`.
    """
    magnitudes = weights.abs()
    candidates = magnitudes[among]
    if not 0 <= count <= len(candidates):
        raise ValueError(f"cannot cut {count} of {len(candidates)} weights")
    if count == 0:
        return torch.zeros_like(among)
    # Not `torch.quantile`, which refuses more than 2^24 entries: one linear layer of VGG16-BN has as many.
    return among & (magnitudes <= candidates.kthvalue(count).values)


def smallest_share(weights: Tensor, among: Tensor, share: float) -> Tensor:
    """As `smallest`, with count = round(share · entries of `among`)."""
    return smallest(weights, among, round(share * int(among.sum())))


def cubic_sparsity(progress: float, start: float, end: float) -> float:
    """Sparsity at `progress` (0..1) of a gradual pruning from `start` to `end`: fast at first, gently at the end."""
    return end + (start - end) * (1 - progress) ** 3


def cut_steps(steps: int, every: int, at_least: int = 4) -> list[int]:
    """The steps (from 1) after which a gradual pruning of `steps` steps cuts: each `every`-th and the last.

    At least `at_least` of them, evenly spread, where `every` would give fewer; one a step, if there are fewer steps still.
    """
    regular = sorted({*range(every, steps + 1, every), steps})
    if len(regular) >= at_least:
        return regular
    return sorted({max(1, round(steps * cut / at_least)) for cut in range(1, at_least + 1)})


def required_ratio(tasks_to_come: int) -> float:
    """The share of its capacity that a task must hand back even if its goal is missed: CPG's 1 − round(1 / (T − t + 1), 1).

    tasks_to_come: T − t, how many tasks follow it. 0 for the last task.
    """
    return 1 - round(1 / (tasks_to_come + 1), 1)
