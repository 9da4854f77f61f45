"""The nearest point of a hyperplane inside the box of valid images: the step of FAB (Croce and Hein 2020, section 2)."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from attacks.parts.looks import looks_are_free

SMALLEST_DIVISOR = 1e-30
"""Divisors count as at least this: below any size that matters, and a float32 whose reciprocal is a float32 too."""

MOST_PASSES = 12
"""Passes that find λ on a device that the host does not wait for.

FAB's steps on VGG16-BN took up to 3. Sums within a thousandth of what the box allows took up to 15, if weights were as unequal as
exp(6 n), n normal.
"""


def to_hyperplane(points: Tensor, normal: Tensor, gap: Tensor, norm: str) -> Tensor:
    """The smallest change d of each point with ⟨normal, d⟩ = gap and points + d in [0, 1]: like `points`.

    points: float (..., D) in [0, 1].
    normal: float, finite, broadcast to the points.
    gap: float (...).
    norm: linf or l2, in which the change is smallest.

    If the hyperplane misses the box, d leads to the corner that comes nearest to it; if the normal is zero, d is zero.

    The solution (KKT conditions) moves each pixel towards the hyperplane by min(λ·u, room), u = 1 for linf and |normal| for l2;
    `level` finds λ.
    """
    scale = normal.abs().amax(-1, keepdim=True).clamp_min(SMALLEST_DIVISOR)
    towards = normal / scale * torch.where(gap < 0, -1.0, 1.0)[..., None].to(normal)
    weight, needed = towards.abs(), gap.abs() / scale.squeeze(-1)
    room = torch.where(towards > 0, 1 - points, points)
    if norm == "linf":
        return towards.sign() * torch.minimum(level(weight, room, needed), room)
    return towards.sign() * torch.minimum(
        level(weight * weight, room / weight.clamp_min(SMALLEST_DIVISOR), needed) * weight, room
    )


def level(weights: Tensor, caps: Tensor, total: Tensor) -> Tensor:
    """The smallest λ ≥ 0 at which Σ weights·min(λ, caps) reaches `total`: float (..., 1), 0 if all weights are 0.

    weights, caps: float (..., D), 0 or more.
    total: float (...). If no λ is large enough, the result is one at which every entry of some weight is at its cap.

    The sum is concave and piecewise linear in λ, so Newton's method from below meets the solution after finitely many steps:
    each puts more entries at their caps, and when a step adds none, λ was exact (Michelot 1986, for the simplex). This takes
    four to eight passes where sorting the caps takes log D, and no sort.

    Where the host would have to wait to see the end there are `MOST_PASSES`. Passes that are not needed change nothing, and a row
    that is not done then stays short of the sum.
    """
    spread = weights.sum(-1, keepdim=True)
    total = total[..., None]
    value = torch.where(spread > 0, total / spread.clamp_min(SMALLEST_DIVISOR), 0)
    free = torch.full_like(value, caps.shape[-1], dtype=torch.int64)
    free_look = looks_are_free(caps.device)
    for _ in itertools.count() if free_look else range(MOST_PASSES):
        below = caps > value
        left = below.count_nonzero(-1)[..., None]
        moving = left < free
        if free_look and not moving.any():
            break
        missing = total - torch.linalg.vecdot(weights, torch.minimum(caps, value))[..., None]
        slope = torch.linalg.vecdot(weights, below.to(weights))[..., None]
        # Never down, whatever is rounded: then no entry is freed again, and D passes are the most there can be.
        step = torch.where(slope > 0, missing / slope.clamp_min(SMALLEST_DIVISOR), 0).clamp_min(0)
        # Rows that are done stay as they are, so that a row does not depend on its batch.
        value, free = torch.where(moving, value + step, value), left
    return value
