"""Points inside the ball: many attacks end on its faces, where a classifier can recognise an attack by its size and undo it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor

from attacks.base import MANY, Trace, describe
from attacks.search import Search, SearchAttack
from attacks.settings import whole_number
from attacks.starts import Starts
from attacks.threat_model import Ball

STEPS, SHARES, MIXED, RANDOM = 6, 6, 2, 2
"""Budgets: gradient steps, shares of the way, points with a share per pixel, random points."""
FIRST_DRAWN = 100
"""The number of the first random point: after those of ten noises and of restarts, from which it is then independent."""
NEAREST, FARTHEST = 0.5, 0.99
"""The first and the last share of the way to what the gradients found."""


@dataclass(frozen=True, kw_only=True)
class Inside(SearchAttack):
    """A short walk along the classifier's gradients, then points on the way there and around, none of them on a face.

    steps: 1 or more gradient steps of eps/4 from the image, without noise.
    shares: 1 or more points on the straight way from the image to the end of the walk, from half of it to 99 %.
    mixed: 0 or more points in which every pixel goes a random share of its own, half of the way or more.
    random: 0 or more uniform points of the ball. Raises AttackError otherwise.

    Everything that is seen counts, the walk too. On adversarially trained digits behind a purifier that undoes changes of exactly
    eps, the shares broke most of what 40-step PGD left; walks in smaller balls added next to nothing, so there are none.
    """

    version: ClassVar[int] = 1

    steps: int = STEPS
    shares: int = SHARES
    mixed: int = MIXED
    random: int = RANDOM

    def __post_init__(self) -> None:
        whole_number("steps", self.steps)
        whole_number("shares", self.shares)
        whole_number("mixed", self.mixed, least=0)
        whole_number("random", self.random, least=0)

    @property
    def name(self) -> str:
        usual = {"shares": SHARES, "mixed": MIXED, "random": RANDOM}
        extras: dict[str, Any] = {
            name: getattr(self, name) for name, value in usual.items() if getattr(self, name) != value
        }
        return describe(f"{self.kind}-{self.steps}", self.threat_model, extras)

    def passes(self, classes: int = MANY) -> float:
        return float(2 * self.steps + 2 + self.shares + self.mixed + self.random)

    def extend(self, search: Search, start: Starts) -> Trace:
        index = search.standing()
        if self.threat_model.eps == 0 or not len(index):
            return Trace()  # nothing but the image itself is in the ball
        ball, victim = search.ball.select(index), search.victim
        labels, points = victim.labels[index], ball.images
        for _ in range(self.steps):
            points = points.detach().requires_grad_()
            logits = victim.logits(points)
            search.see(points, logits, index)
            gradient = victim.gradient(F.cross_entropy(logits, labels, reduction="sum"), points).nan_to_num()
            points = ball.ascend(points.detach(), gradient, float(self.threat_model.eps) / 4)
        search.see(points, victim.logits_only(points), index)
        for found in self._points(ball, points - ball.images, start.select(index)):
            here = search.is_standing(index).nonzero().squeeze(1)
            if not len(here):
                break
            search.see(found[here], victim.logits_only(found[here]), index[here])
        return Trace()

    def _points(self, ball: Ball, change: Tensor, start: Starts) -> Iterator[Tensor]:
        """The points after the walk, one batch after another, each like the images. change: that the walk ended with."""
        shape, pixels = change.shape, change[0].numel()
        for place in range(self.shares):
            share = NEAREST + (FARTHEST - NEAREST) * place / max(1, self.shares - 1)
            yield ball.project(ball.images + share * change)
        for draw in range(self.mixed):
            share_of_pixel = NEAREST + (1 - NEAREST) * start.fractions(f"inside {draw}", pixels).view(shape).to(change)
            yield ball.project(ball.images + share_of_pixel * change)
        for draw in range(self.random):
            noise = start.in_unit_ball(ball.norm, shape, FIRST_DRAWN + draw).to(change)
            yield ball.project(ball.images + noise * ball.eps)
