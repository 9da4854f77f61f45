"""Square: Andriushchenko et al. 2020, *Square Attack: a query-efficient black-box adversarial attack via random search*."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import torch
from torch import Tensor

from attacks.base import MANY, AttackError, Trace, added_later, describe, outcome_of
from attacks.parts.graphs.capture import Computation, Logits, capturable, rung
from attacks.parts.looks import looks_are_free, steps_between_looks
from attacks.parts.squares import Draws, Patterns, random_window, reshaped_change, stripes, tiles
from attacks.search import Search, SearchAttack
from attacks.settings import exact_number, one_of, whole_number
from attacks.starts import Starts
from attacks.threat_model import Ball
from attacks.victim import checked_logits

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
    """One run from one start, of all images of `index`, int64 (M,), at once. A broken image leaves at the next look.

    points: float (M, C, H, W), where the images are.
    margin, logits: at the points.
    query: int64 (M,), how many queries of each image were answered.
    draws: int64 (M,), from which random numbers follow.
    live: bool (M,), False for images that are broken or have no query left.
    pace: float (2,), running means per round of the share of images that kept a proposal and of proposals looked at.
    """

    def __init__(self, attack: Square, search: Search, start: Starts, index: Tensor, restart: int) -> None:
        self.attack, self.search, self.index, self.restart = attack, search, index, restart
        self.start, self.ball = start.select(index), search.ball.select(index)
        self.labels, self.draws = search.victim.labels[index], self.start.rows(f"square {restart}")
        self.query, self.live = torch.zeros_like(index), torch.ones_like(index, dtype=torch.bool)
        self.pace = torch.ones(2, device=index.device)
        self.free = looks_are_free(index.device)
        device = "cpu" if self.free else "cuda"
        self.rows, self.fixed_rows = ROWS[device], FIXED_ROWS[device]
        self.round = self._rounds()

    def run(self) -> None:
        l2 = self.ball.norm == "l2"
        self.points = (tiles if l2 else stripes)(self.ball, self.start, self.restart)
        parts = self.search.victim.parts(len(self.index), self.rows)
        self.logits = torch.cat([self.search.victim.logits_only(self.points[part]) for part in parts])
        self.margin = outcome_of(self.logits, self.labels).margin
        self._show()
        between = steps_between_looks(self.index.device)
        left = self._look()
        while len(self.index):
            count = self._at_once()
            for _ in range(min(between, -(-left // count))):
                self._round(count)
            left = self._look()

    def _rounds(self) -> Computation:
        attack, victim, norm = self.attack, self.search.victim, self.ball.norm
        sides = attack.sides(*self.ball.images.shape[2:])
        patterns = Patterns(sides, self.index.device)
        sides = sides.to(self.index.device)
        # What is captured outlives the batch, so that it may hold nothing of it.
        parts = functools.partial(victim.parts, most=self.rows) if self.free else None
        return capturable(
            lambda classifier: _round_of(classifier, norm, sides, patterns, victim.largest_label, parts),
            ("square", norm, attack.queries, attack.schedule, attack.p_init, victim.largest_label),
            victim.classifier,
            self.index.device,
            len(victim),
        )

    def _at_once(self) -> int:
        """The number of proposals of each image to evaluate from one point, by which most queries are answered for their cost."""
        live = len(self.index) if self.free else rung(len(self.index), len(self.search.victim))
        most = max(1, min(self.rows // live, self.attack.queries))
        kept, proposed = self.pace.tolist()
        return cheapest(live, kept / proposed, range(1, most + 1) if self.free else few_sizes(most), self.fixed_rows)

    def _round(self, count: int) -> None:
        """Evaluate the next `count` proposals of every image; keep the first that lowers its margin."""
        ball = self.ball
        self.points, self.margin, self.logits, self.query, kept, looked, asked, not_finite = self.round(
            count, self.points, self.margin, self.logits, self.query, self.live,
            self.labels, self.draws, ball.images, ball.eps, ball.lower, ball.upper,
        )  # fmt: skip
        self.search.victim.note(torch.zeros_like(asked.sum()), asked.sum(), not_finite.sum())
        means = torch.stack([kept.float(), looked.float()]) * self.live
        self.pace = 0.9 * self.pace + means.sum(1) / self.live.sum().clamp_min(1)
        self._show()

    def _show(self) -> None:
        self.search.see(self.points, self.logits, self.index, self.live)
        self.live = self.search.is_live(self.index) & (self.query < self.attack.queries)

    def _look(self) -> int:
        """Drop what is broken or has no query left. Returns the most queries that any image has left. Waits for the device."""
        going = self.search.is_standing(self.index) & (self.query < self.attack.queries)
        keep = going.nonzero().squeeze(1)
        if len(keep) < len(self.index):
            self.index, self.ball = self.index[keep], self.ball.select(keep)
            for name in ("labels", "draws", "live", "points", "margin", "logits", "query"):
                setattr(self, name, getattr(self, name)[keep])
        return self.attack.queries - int(self.query.amin()) if len(keep) else 0


def cheapest(live: int, rate: float, sizes: Iterable[int], fixed_rows: int) -> int:
    """The number of proposals at once, of those in `sizes`, by which most queries of `live` images are answered for their cost.

    rate: the share of proposals that are kept.
    fixed_rows: the fixed cost of a pass, in rows.
    """
    rate = min(max(rate, 1e-3), 1.0)

    def queries_per_cost(count: int) -> float:
        # Of `count` proposals those up to the first that is kept are used: a truncated geometric number.
        return (1 - (1 - rate) ** count) / rate / (fixed_rows + live * count)

    return max(sizes, key=queries_per_cost)


def few_sizes(most: int) -> list[int]:
    """1, 2, 3, 4, 6, 8, 12, 16 ... up to `most`: each is a size of its own to a GPU."""
    sizes = {1} | {size << power for power in range(most.bit_length()) for size in (2, 3)}
    return sorted(size for size in sizes if size <= most)


def _round_of(
    classifier: Logits,
    norm: str,
    sides: Tensor,
    patterns: Patterns,
    largest_label: int,
    parts: Callable[[int], list[slice]] | None,
) -> Computation:
    """The function that makes a round.

    sides: int64 (queries,), of the square at each query.
    parts: cuts so many rows into parts that fit in memory; None: all rows are evaluated at once, asked or not, without waiting.
    """

    def ask(points: Tensor, asked: Tensor, known: Tensor) -> Tensor:
        """Logits (R, C) of points (R, ...) where they are asked about, the known ones elsewhere."""
        if parts is None:
            return torch.where(asked[:, None], checked_logits(classifier, points, largest_label), known)
        if not len(places := asked.nonzero().squeeze(1)):
            return known
        points, logits = points[places], known.clone()
        logits[places] = torch.cat(
            [checked_logits(classifier, points[part], largest_label) for part in parts(len(places))]
        )
        return logits

    @torch.no_grad()
    def make_round(
        count: int,
        points: Tensor,
        margin: Tensor,
        logits: Tensor,
        query: Tensor,
        live: Tensor,
        labels: Tensor,
        draws: Tensor,
        *centres: Tensor,
    ) -> tuple[Tensor, ...]:
        """All per row: points, margin, logits and query after the round; if a proposal was kept, and how many were looked at,
        asked about, and answered by what is not finite. What is not live is not asked about, and stays.
        """
        rows, ball = len(points), Ball(norm, *centres)
        queries = query[:, None] + torch.arange(count, device=query.device)
        within = queries < len(sides)
        proposals = _proposals(points, ball, Draws(draws, queries.clamp_max(len(sides) - 1)), sides, patterns)
        # A proposal that equals the point has a known answer: such a query is counted and not asked.
        asked = within & live[:, None] & (proposals != points[:, None]).flatten(2).any(2)
        known = logits[:, None].expand(rows, count, -1).flatten(0, 1)
        answers = ask(proposals.flatten(0, 1), asked.flatten(), known)
        margins = outcome_of(answers, labels.repeat_interleave(count)).margin.view(rows, count)
        answers = answers.view(rows, count, -1)
        better = (margins < margin[:, None]) & asked
        keeps = better.any(1)
        # The first of them, or the last that was proposed.
        chosen = torch.where(keeps, better.int().argmax(1), 0)
        looked = torch.where(keeps, chosen + 1, count)
        each = torch.arange(rows, device=query.device)
        return (
            torch.where(keeps[:, None, None, None], proposals[each, chosen], points),
            torch.where(keeps, margins[each, chosen], margin),
            torch.where(keeps[:, None], answers[each, chosen], logits),
            query + torch.where(live, looked, 0),
            keeps,
            looked,
            asked.sum(1),
            (asked & (~answers.isfinite()).any(2)).sum(1),
        )

    return make_round


def _proposals(points: Tensor, ball: Ball, draw: Draws, sides: Tensor, patterns: Patterns) -> Tensor:
    """The proposals of each image at the queries of `draw`: float (M, K, C, H, W)."""
    shape, side = points.shape, sides[draw.queries]
    first, signs = random_window(draw, 0, side, shape), draw.signs(2, shape[1])
    if ball.norm == "linf":
        moved = points[:, None] + first[:, :, None] * signs[..., None, None] * (2 * ball.eps[:, None])
        return moved.clamp(ball.lower[:, None], ball.upper[:, None])
    second, pattern = random_window(draw, 3, side, shape), patterns.random(draw, side, shape)
    change = (points - ball.images)[:, None].expand(*side.shape, *shape[1:])
    change = reshaped_change(change, first, second, pattern, signs, ball.eps[:, None])
    return (ball.images[:, None] + change).clamp(0, 1)
