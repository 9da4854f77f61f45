"""The walks that attacks demand, and the rows of a batch that they are.

Walks that differ in start, step size, target or eps are lanes of one batch, lane after lane.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attacks.base import Attack
from attacks.starts import Starts
from attacks.threat_model import Ball, ThreatModel
from attacks.victim import check_samples, usable_in_autograd


@dataclass(frozen=True, slots=True)
class Lane:
    """One walk of every image.

    threat_model: of all its iterates.
    step_size: in the units of eps.
    restart: the number of the random start; None: the walk starts at the image.
    target: the rank, likeliest first, of the other class that is aimed at; None: untargeted.
    """

    threat_model: ThreatModel
    step_size: float = 0.0
    restart: int | None = None
    target: int | None = None


@dataclass(frozen=True, slots=True)
class LaneDemand:
    """The demand of one attack.

    lanes: the walks that it is made of.
    checkpoints: the numbers of steps after which it is read off, ascending.
    """

    lanes: tuple[Lane, ...]
    checkpoints: tuple[int, ...]


def starting_point(threat_model: ThreatModel, images: Tensor, start: Starts, restart: int) -> Tensor:
    """The start of restart `restart`: a random point of the ball, clamped to the box, float (N, C, H, W).

    linf: uniform; l2: of uniform direction and radius.
    """
    check_samples(start, images)
    # Multiplied, then added, never fused: identical to the bit on every device.
    noise = start.in_unit_ball(threat_model.norm, images.shape, restart).to(images) * float(threat_model.eps)
    return noise.add_(images).clamp_(*threat_model.bounds(images))


def lane_lengths(demands: Mapping[Attack, LaneDemand], others: int | None) -> dict[Lane, int]:
    """The lanes with the most steps demanded of each, the longest first, without those that aim at a class there is not.

    others: how many other classes there are.
    """
    lengths: dict[Lane, int] = {}
    for demand in demands.values():
        for lane in _possible(demand.lanes, others):
            lengths[lane] = max(lengths.get(lane, 0), demand.checkpoints[-1])
    return dict(sorted(lengths.items(), key=lambda item: -item[1]))


def _possible(lanes: Sequence[Lane], others: int | None) -> list[Lane]:
    return [lane for lane in lanes if lane.target is None or (others is not None and lane.target < others)]


@dataclass(frozen=True, slots=True)
class LaneRows:
    """The rows of all lanes, lane after lane: their starts, and what does not change on the way.

    points: float (rows, C, H, W), the starts.
    labels, targets: int64 (rows,); no targets: untargeted.
    ball: around the images.
    step_size: float (rows, 1, 1, 1).
    """

    points: Tensor
    labels: Tensor
    targets: Tensor | None
    ball: Ball
    step_size: Tensor

    def constants(self, count: int) -> tuple[Tensor, ...]:
        ball = self.ball.first(count)
        targets = self.labels if self.targets is None else self.targets
        fixed = (self.labels, targets, self.step_size)
        return (*(tensor[:count] for tensor in fixed), ball.images, ball.eps, ball.lower, ball.upper)


def lane_rows(lanes: list[Lane], images: Tensor, labels: Tensor, others: Tensor | None, start: Starts) -> LaneRows:
    starts: dict[tuple[ThreatModel, int | None], Tensor] = {}
    for lane in lanes:
        key = (lane.threat_model, lane.restart)
        if key not in starts:
            point = images if lane.restart is None else starting_point(lane.threat_model, images, start, lane.restart)
            starts[key] = usable_in_autograd(point)
    points = [starts[lane.threat_model, lane.restart] for lane in lanes]
    ranks = [lane.target for lane in lanes if lane.target is not None]
    sizes = torch.tensor([lane.step_size for lane in lanes], dtype=torch.float64).repeat_interleave(len(images))
    return LaneRows(
        points=torch.cat(points) if len(points) > 1 else points[0],
        labels=labels.repeat(len(lanes)),
        targets=None if others is None else torch.cat([others[:, rank] for rank in ranks]),
        ball=Ball.around(images, [lane.threat_model for lane in lanes]),
        step_size=sizes[:, None, None, None].to(images),
    )
