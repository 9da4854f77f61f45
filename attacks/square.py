"""Square: Andriushchenko et al. 2020, *Square Attack: a query-efficient black-box adversarial attack via random search*."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import torch
from torch import Tensor

from attacks.base import MANY, AttackError, Trace, added_later, describe, outcome_of
from attacks.parts.squares import Draws, random_pattern, random_window, reshaped_change, stripes, tiles
from attacks.search import Search, SearchAttack
from attacks.settings import exact_number, one_of, whole_number
from attacks.starts import Starts

SCHEDULE = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Queries of 10,000 after which the share of pixels that a square covers is halved (section 5 of the paper)."""

STRETCHED, FIXED = "stretched", "fixed"
"""Schedules: all of `SCHEDULE`, stretched or shrunk to the number of queries; or `SCHEDULE` as it stands, up to that number."""

ROWS = {"cpu": 64, "cuda": 512}
"""Rows of a batch beyond which a forward pass costs little less per row."""

FIXED_ROWS = {"cpu": 5, "cuda": 128}
"""The fixed cost of a forward pass, in rows. Measured on two cores with VGG16-BN: 15 ms, and 3 ms a row."""


@dataclass(frozen=True, kw_only=True)
class Square(SearchAttack):
    """Random search over squares of constant change: a proposal that lowers the margin is kept (algorithms 1 to 3).

    queries: 1 or more, of each image and restart, after the first point.
    restarts: 1 or more.
    p_init: above 0 to 1, the share of pixels that the first squares cover; what `parse_fraction` reads, as a Fraction.
    schedule: of the squares' sizes. "stretched" to `queries`, as the paper says for other numbers than 10,000; or "fixed": halved
        after 10, 50, ... queries however many there are, as in AutoAttack, whose code sets `resc_schedule=False`.

    Raises AttackError otherwise. No gradient is taken.

    While proposals are hardly ever kept, several of an image are evaluated at once from the same point. Those up to the first
    that is kept are the same as one after another; the rest is proposed again. The path is the same, in larger batches.
    """

    version: ClassVar[int] = 1

    queries: int = 5000
    restarts: int = 1
    p_init: Fraction = Fraction(4, 5)
    schedule: str = added_later(STRETCHED)

    def __post_init__(self) -> None:
        whole_number("queries", self.queries)
        whole_number("restarts", self.restarts)
        one_of("schedule", self.schedule, (STRETCHED, FIXED))
        object.__setattr__(self, "p_init", exact_number("p_init", self.p_init))
        if not 0 < self.p_init <= 1:
            raise AttackError(f"p_init = {self.p_init}: expected a number above 0, at most 1, such as 4/5")

    @property
    def name(self) -> str:
        extras: dict[str, Any] = {}
        if self.restarts != 1:
            extras["r"] = self.restarts
        if self.p_init != Fraction(4, 5):
            extras["p"] = str(self.p_init)
        if self.schedule != STRETCHED:
            extras["schedule"] = self.schedule
        return describe(f"{self.kind}-{self.queries}", self.threat_model, extras)

    def passes(self, classes: int = MANY) -> float:
        return float(self.restarts * (self.queries + 1))

    def extend(self, search: Search, start: Starts) -> Trace:
        if self.threat_model.eps == 0:
            return Trace()  # nothing but the image itself is in the ball
        for restart in range(self.restarts):
            index = search.standing()
            if not len(index):
                break
            _RandomSearch(self, search, start, index, restart).run()
        return Trace()

    def sides(self, height: int, width: int) -> Tensor:
        """The side of the square at each query, on images of this size: int64 (queries,)."""
        smallest, most = (3 if self.threat_model.norm == "l2" else 1), min(height, width)
        found = []
        for query in range(self.queries):
            place = query if self.schedule == FIXED else query * 10_000 // self.queries
            share = float(self.p_init) / 2 ** sum(place > bound for bound in SCHEDULE)
            side = max(round(math.sqrt(share * height * width)), smallest)
            if self.threat_model.norm == "l2" and side % 2 == 0:
                side += 1
            found.append(min(side, most))
        return torch.tensor(found)


class _RandomSearch:
    """One run from one start, of all images of `index`, int64 (M,), at once. An image leaves when it is broken.

    points: float (M, C, H, W), where the images are.
    margin, logits: at the points.
    query: int64 (M,), how many queries of each image were answered.
    proposed, kept: running means of proposals looked at and of proposals kept, per round.
    """

    def __init__(self, attack: Square, search: Search, start: Starts, index: Tensor, restart: int) -> None:
        self.attack, self.search, self.index, self.restart = attack, search, index, restart
        self.start, self.ball = start.select(index), search.ball.select(index)
        self.sides = attack.sides(*self.ball.images.shape[2:]).to(index.device)
        self.query = torch.zeros_like(index)
        device = "cpu" if index.device.type == "cpu" else "cuda"
        self.rows, self.fixed_rows = ROWS[device], FIXED_ROWS[device]
        self.proposed, self.kept = 1.0, 1.0

    def run(self) -> None:
        l2 = self.ball.norm == "l2"
        self.points = (tiles if l2 else stripes)(self.ball, self.start, self.restart)
        self.logits = self._evaluate(self.points)
        self.margin = outcome_of(self.logits, self._labels()).margin
        self.search.see(self.points, self.logits, self.index)
        self._drop()
        while len(self.index):
            self._round(self._at_once())
            self._drop()

    def _labels(self) -> Tensor:
        return self.search.victim.labels[self.index]

    def _at_once(self) -> int:
        """The number of proposals of each image to evaluate from one point, by which most queries are answered for their cost."""
        live, rate = len(self.index), min(max(self.kept / self.proposed, 1e-3), 1.0)

        def queries_per_cost(count: int) -> float:
            # Of `count` proposals those up to the first that is kept are used: a truncated geometric number.
            return (1 - (1 - rate) ** count) / rate / (self.fixed_rows + live * count)

        return max(range(1, max(1, min(self.rows // live, self.attack.queries)) + 1), key=queries_per_cost)

    def _round(self, count: int) -> None:
        """Evaluate the next `count` proposals of every image; keep the first that lowers its margin."""
        rows = len(self.index)
        queries = self.query[:, None] + torch.arange(count, device=self.query.device)
        within = queries < self.attack.queries
        proposals = self._proposals(queries.clamp_max(self.attack.queries - 1))
        # A proposal that equals the point has a known answer: such a query is counted and not asked.
        asked = within & (proposals != self.points[:, None]).flatten(2).any(2)
        logits = self.logits[:, None].expand(rows, count, -1).clone()
        if len(places := asked.flatten().nonzero().squeeze(1)):
            logits.view(rows * count, -1)[places] = self._evaluate(proposals.flatten(0, 1)[places])
        margins = outcome_of(logits.flatten(0, 1), self._labels().repeat_interleave(count)).margin.view(rows, count)
        better = (margins < self.margin[:, None]) & asked
        keeps = better.any(1)
        # The first of them, or the last that was proposed.
        chosen = torch.where(keeps, better.int().argmax(1), 0)
        each = torch.arange(rows, device=self.index.device)
        points, margin = proposals[each, chosen], margins[each, chosen]
        self.points = torch.where(keeps[:, None, None, None], points, self.points)
        self.margin = torch.where(keeps, margin, self.margin)
        self.query = self.query + torch.where(keeps, chosen + 1, count)
        self.logits = torch.where(keeps[:, None], logits[each, chosen], self.logits)
        self.search.see(self.points, self.logits, self.index)
        # Proposals that were kept of late, over those that were looked at to find them.
        looked_at = torch.where(keeps, chosen + 1, count).float().mean()
        share, looked = torch.stack([keeps.float().mean(), looked_at]).tolist()
        self.kept, self.proposed = 0.9 * self.kept + share, 0.9 * self.proposed + looked

    def _drop(self) -> None:
        going = self.search.is_standing(self.index) & (self.query < self.attack.queries)
        keep = going.nonzero().squeeze(1)
        if len(keep) == len(self.index):
            return
        self.index, self.start, self.ball = self.index[keep], self.start.select(keep), self.ball.select(keep)
        self.points, self.margin, self.query = self.points[keep], self.margin[keep], self.query[keep]
        self.logits = self.logits[keep]

    def _evaluate(self, points: Tensor) -> Tensor:
        """Logits of points, in batches that fit in memory."""
        parts = self.search.victim.parts(len(points), self.rows)
        return torch.cat([self.search.victim.logits_only(points[part]) for part in parts])

    def _proposals(self, queries: Tensor) -> Tensor:
        """The proposals of each image at these queries: float (M, K, C, H, W) from int64 (M, K)."""
        rows, count = queries.shape
        shape = self.ball.images.shape
        draw = Draws(self.start, f"square {self.restart}", queries)
        side = self.sides[queries]
        first = random_window(draw, 0, side, shape)
        signs = draw.signs(2, shape[1])
        points, images = self.points[:, None], self.ball.images[:, None]
        if self.ball.norm == "linf":
            ball = self.ball
            moved = points + first[:, :, None] * signs[..., None, None] * (2 * ball.eps[:, None])
            return moved.clamp(ball.lower[:, None], ball.upper[:, None])
        second = random_window(draw, 3, side, shape)
        pattern = random_pattern(draw, side, shape)
        change = (points - images).expand(rows, count, *shape[1:])
        change = reshaped_change(change, first, second, pattern, signs, self.ball.eps[:, None])
        return (images + change).clamp(0, 1)
