"""Square: Andriushchenko et al. 2020, *Square Attack: a query-efficient black-box adversarial attack via random search*."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor

from attacks.base import MANY, AttackError, Trace, describe, outcome_of
from attacks.search import Search, SearchAttack
from attacks.settings import whole_number
from attacks.starts import Starts
from attacks.threat_model import TINY, Ball, ThreatModelError, l2_norm, parse_fraction

SCHEDULE = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Queries of 10,000 after which the share of pixels that a square covers is halved (section 5 of the paper)."""

ROWS = {"cpu": 64, "cuda": 512}
"""Rows of a batch beyond which a forward pass costs little less per row."""

FIXED_ROWS = {"cpu": 5, "cuda": 128}
"""What a forward pass costs however many rows it has, in rows. Measured on two cores with VGG16-BN: 15 ms and 3 ms a row."""


@dataclass(frozen=True, kw_only=True)
class Square(SearchAttack):
    """Random search over squares of constant change: a proposal that lowers the margin is kept (algorithms 1 to 3).

    No gradient is taken. queries, restarts: 1 or more; queries of each image and restart after the first point. p_init: the
    share of pixels that the first squares cover, above 0 to 1; what `parse_fraction` reads, as a Fraction. Raises AttackError
    otherwise. The schedule of sizes is stretched to the number of queries, as in AutoAttack.

    While proposals are hardly ever kept, several of an image are evaluated at once from the same point: those up to the first
    that is kept are what one after another would have been, the rest is proposed again. The path is the same, in larger batches.
    """

    version: ClassVar[int] = 1

    queries: int = 5000
    restarts: int = 1
    p_init: Fraction = Fraction(4, 5)

    def __post_init__(self) -> None:
        whole_number("queries", self.queries)
        whole_number("restarts", self.restarts)
        try:
            object.__setattr__(self, "p_init", parse_fraction(self.p_init))
        except ThreatModelError as error:
            raise AttackError(f"p_init: {error}") from None
        if not 0 < self.p_init <= 1:
            raise AttackError(f"p_init = {self.p_init}: expected a number above 0, at most 1, such as 4/5")

    @property
    def name(self) -> str:
        extras: dict[str, Any] = {}
        if self.restarts != 1:
            extras["r"] = self.restarts
        if self.p_init != Fraction(4, 5):
            extras["p"] = str(self.p_init)
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
        """The side of the square at each query: int64 (queries,)."""
        smallest, most = (3 if self.threat_model.norm == "l2" else 1), min(height, width)
        found = []
        for query in range(self.queries):
            place = query * 10_000 // self.queries
            share = float(self.p_init) / 2 ** sum(place > bound for bound in SCHEDULE)
            side = max(round(math.sqrt(share * height * width)), smallest)
            if self.threat_model.norm == "l2" and side % 2 == 0:
                side += 1
            found.append(min(side, most))
        return torch.tensor(found)


class _RandomSearch:
    """One run from one start, of all images of `index` at once. An image that is broken leaves."""

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
        self.points = (_tiles if l2 else _stripes)(self.ball, self.start, self.restart)
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
        """How many proposals of each image to evaluate from one point: what gets most queries answered for its cost."""
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
        # Where a square is already what is proposed the answer is known: such a query is counted and not asked.
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
        # What was kept of late, over what was looked at to find it.
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
        """Logits of points, in batches no larger than whoever chose the batch size knows to fit."""
        parts = self.search.victim.parts(len(points), self.rows)
        return torch.cat([self.search.victim.logits_only(points[part]) for part in parts])

    def _proposals(self, queries: Tensor) -> Tensor:
        """The proposals of each image at these queries: float (M, K, C, H, W) from int64 (M, K)."""
        rows, count = queries.shape
        shape = self.ball.images.shape
        draw = _Draws(self.start, f"square {self.restart}", queries)
        side = self.sides[queries]
        first = _window(draw, 0, side, shape)
        signs = draw.signs(2, shape[1])
        points, images = self.points[:, None], self.ball.images[:, None]
        if self.ball.norm == "linf":
            ball = self.ball
            moved = points + first[:, :, None] * signs[..., None, None] * (2 * ball.eps[:, None])
            return moved.clamp(ball.lower[:, None], ball.upper[:, None])
        second = _window(draw, 3, side, shape)
        pattern = _pattern(draw, side, shape)
        change = (points - images).expand(rows, count, *shape[1:])
        change = _reshaped(change, first, second, pattern, signs, self.ball.eps[:, None])
        return (images + change).clamp(0, 1)


def _reshaped(change: Tensor, first: Tensor, second: Tensor, pattern: Tensor, signs: Tensor, eps: Tensor) -> Tensor:
    """Algorithm 3: what a second window loses a first one gains, as a new pattern; (M, K, C, H, W), of norm eps."""
    one, two = (window[:, :, None].to(change.dtype) for window in (first, second))
    channels = change.shape[2]
    inside = change * one
    new = pattern[:, :, None] * signs[..., None, None] + inside / _norm(inside, (3, 4))
    free = (eps**2 - (change**2).sum((2, 3, 4), keepdim=True)).clamp_min(0) / channels
    windows = ((change * torch.maximum(one, two)) ** 2).sum((2, 3, 4), keepdim=True)
    new = new * one / _norm(new * one, (3, 4)) * (free + windows).sqrt()
    change = change * (1 - one) * (1 - two) + new
    return change * (eps / _norm(change, (2, 3, 4)))


def _norm(change: Tensor, over: tuple[int, ...]) -> Tensor:
    return (change**2).sum(over, keepdim=True).sqrt().clamp_min(TINY)


class _Draws:
    """Random numbers of each image at each of some queries: a function of (seed, task, sample, restart, query)."""

    WORDS = 8

    def __init__(self, start: Starts, purpose: str, queries: Tensor) -> None:
        self.start, self.purpose, self.queries = start, purpose, queries

    def word(self, place: int) -> Tensor:
        """64 random bits: int64 (M, K)."""
        return self.start.words_at(self.purpose, self.queries * self.WORDS + place)

    def below(self, place: int, bound: Tensor) -> Tensor:
        """A whole number from 0 to bound - 1, 0 where bound is 0: int64 (M, K)."""
        return ((self.word(place) >> 16) & 0xFFFFFFFF) * bound >> 32

    def signs(self, place: int, channels: int) -> Tensor:
        """One sign for each channel: float (M, K, C) of 1 and -1."""
        bits = torch.arange(channels, device=self.queries.device) + 8
        return 1.0 - 2.0 * ((self.word(place)[..., None] >> bits) & 1)


def _window(draw: _Draws, place: int, side: Tensor, shape: torch.Size) -> Tensor:
    """A square of side `side` somewhere in the image: bool (M, K, H, W)."""
    rows, columns = (_offsets(draw, place + axis, side, shape[2 + axis]) for axis in (0, 1))
    return _inside(rows, side)[..., :, None] & _inside(columns, side)[..., None, :]


def _offsets(draw: _Draws, place: int, side: Tensor, length: int) -> Tensor:
    """Each row's (or column's) place in the square, outside 0..side-1 where it is not in it: int64 (M, K, length)."""
    first = draw.below(place, length - side)
    return torch.arange(length, device=side.device) - first[..., None]


def _inside(offsets: Tensor, side: Tensor) -> Tensor:
    return (offsets >= 0) & (offsets < side[..., None])


def _pattern(draw: _Draws, side: Tensor, shape: torch.Size) -> Tensor:
    """The paper's η in the square of `_window(draw, 0, ...)`, lying or standing: float (M, K, H, W), zero elsewhere."""
    table, places = _patterns(tuple(side.unique().tolist()))
    rows, columns = (_offsets(draw, axis, side, shape[2 + axis]) for axis in (0, 1))
    window = _inside(rows, side)[..., :, None] & _inside(columns, side)[..., None, :]
    most = table.shape[-1] - 1
    i, j = rows.clamp(0, most)[..., :, None], columns.clamp(0, most)[..., None, :]
    lies = ((draw.word(2) & 1) == 1)[..., None, None]
    which = places.to(side.device)[side][..., None, None]
    i, j = torch.broadcast_tensors(i, j)
    values = table.to(side.device)[which, torch.where(lies, j, i), torch.where(lies, i, j)]
    return values * window


@lru_cache(maxsize=64)
def _patterns(sides: Sequence[int]) -> tuple[Tensor, Tensor]:
    """η of each of some sides in one table (S, most, most), and by side its place there."""
    most = max(sides)
    table, places = torch.zeros(len(sides), most, most), torch.zeros(most + 1, dtype=torch.int64)
    for place, side in enumerate(sides):
        table[place, :side, :side] = eta(side)
        places[side] = place
    return table, places


def eta(side: int) -> Tensor:
    """Two bumps of opposite sign in a square, of norm 1 (eq. 2 and 3 of the paper's section 3.2): float (side, side)."""
    upper = side // 2
    pattern = torch.zeros(side, side)
    pattern[:upper] = _bump(upper, side)
    pattern[upper:] = -_bump(side - upper, side)
    return pattern / pattern.norm()


def _bump(height: int, width: int) -> Tensor:
    """Rectangles around the middle, each one larger and weaker: 1 / 1², 1 / 2² ..., of norm 1."""
    bump = torch.zeros(height, width)
    if not height:
        return bump
    top, left = height // 2, width // 2
    for ring in range(max(height // 2, width // 2) + 1):
        rows = slice(max(top - ring, 0), min(top + ring + 1, height))
        columns = slice(max(left - ring, 0), min(left + ring + 1, width))
        bump[rows, columns] += 1 / (ring + 1) ** 2
    return bump / bump.norm()


def _stripes(ball: Ball, start: Starts, restart: int) -> Tensor:
    """Vertical stripes of ±eps in every channel, one pixel wide (section 3.1): float (N, C, H, W)."""
    rows, channels, _, width = ball.images.shape
    bits = start.words(f"square {restart} stripes", channels * width) >> 40 & 1
    signs = (1.0 - 2.0 * bits).view(rows, channels, 1, width).to(ball.images)
    return (ball.images + signs * ball.eps).clamp(ball.lower, ball.upper)


def _tiles(ball: Ball, start: Starts, restart: int) -> Tensor:
    """η in tiles of a fifth of the height, with a sign for each tile and channel (section 3.2): float (N, C, H, W)."""
    rows, channels, height, width = ball.images.shape
    side = max(1, min(height, width) // 5)
    down, across = height // side, width // side
    words = start.words(f"square {restart} tiles", down * across).view(rows, 1, down, across)
    bits = words >> (torch.arange(channels, device=words.device) + 8).view(1, channels, 1, 1) & 1
    signs = (1.0 - 2.0 * bits).to(ball.images)
    tile = eta(side).to(ball.images)
    lies = (words & 1).bool()[..., None, None]
    tiles = torch.where(lies, tile.T, tile) * signs[..., None, None]
    change = torch.zeros_like(ball.images)
    # In the middle of the image, as in the authors' code.
    top, left = (height - down * side) // 2, (width - across * side) // 2
    change[:, :, top : top + down * side, left : left + across * side] = tiles.permute(0, 1, 2, 4, 3, 5).reshape(
        rows, channels, down * side, across * side
    )
    return (ball.images + change * (ball.eps / l2_norm(change).clamp_min(TINY))).clamp(0, 1)
