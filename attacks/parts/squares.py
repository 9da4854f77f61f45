"""The squares of Square: random windows, patterns inside them, and first points (Andriushchenko et al. 2020, section 3).

Shapes: M images, K proposals of each, C channels, H rows, W columns.
"""

from __future__ import annotations

import torch
from torch import Tensor

from attacks.starts import Starts, words_of
from attacks.threat_model import SMALLEST_NORM, Ball, l2_norm


def reshaped_change(
    change: Tensor, first: Tensor, second: Tensor, pattern: Tensor, signs: Tensor, eps: Tensor
) -> Tensor:
    """The change of algorithm 3: a first window gains, as a new pattern, what a second one loses.

    change: float (M, K, C, H, W); the result is like it, of norm eps.
    first, second: bool (M, K, H, W), the windows.
    pattern: float (M, K, H, W), of norm 1 in the first window.
    signs: float (M, K, C).
    eps: float (M, 1, 1, 1, 1).
    """
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
    return (change**2).sum(over, keepdim=True).sqrt().clamp_min(SMALLEST_NORM)


class Draws:
    """Random numbers of each image at each of some queries: a function of (seed, task, sample, restart, query).

    rows: int64 (M,), from `Starts.rows`, of a purpose that names the restart.
    queries: int64 (M, K).
    """

    WORDS = 8

    def __init__(self, rows: Tensor, queries: Tensor) -> None:
        self.rows, self.queries = rows, queries

    def word(self, place: int) -> Tensor:
        """64 random bits: int64 (M, K)."""
        return words_of(self.rows, self.queries * self.WORDS + place)

    def below(self, place: int, bound: Tensor) -> Tensor:
        """Whole numbers from 0 to bound - 1, 0 where the bound is 0: int64 (M, K)."""
        return ((self.word(place) >> 16) & 0xFFFFFFFF) * bound >> 32

    def signs(self, place: int, channels: int) -> Tensor:
        """A sign for each channel: float (M, K, C) of 1 and -1."""
        bits = torch.arange(channels, device=self.queries.device) + 8
        return 1.0 - 2.0 * ((self.word(place)[..., None] >> bits) & 1)


def random_window(draw: Draws, place: int, side: Tensor, shape: torch.Size) -> Tensor:
    """Squares of side `side`, int64 (M, K), somewhere in the image: bool (M, K, H, W)."""
    rows, columns = (_offsets(draw, place + axis, side, shape[2 + axis]) for axis in (0, 1))
    return _inside(rows, side)[..., :, None] & _inside(columns, side)[..., None, :]


def _offsets(draw: Draws, place: int, side: Tensor, length: int) -> Tensor:
    """Each row's (or column's) place in the square, 0..side-1, and beyond that outside of it: int64 (M, K, length)."""
    first = draw.below(place, length - side)
    return torch.arange(length, device=side.device) - first[..., None]


def _inside(offsets: Tensor, side: Tensor) -> Tensor:
    return (offsets >= 0) & (offsets < side[..., None])


class Patterns:
    """The paper's η for each side that squares have.

    sides: int64, on the host.
    device: that of the squares.
    """

    def __init__(self, sides: Tensor, device: torch.device) -> None:
        few = sides.unique().tolist()
        self._most = max(few)
        table, places = torch.zeros(len(few), self._most, self._most), torch.zeros(self._most + 1, dtype=torch.int64)
        for place, side in enumerate(few):
            table[place, :side, :side] = eta(side)
            places[side] = place
        self._table, self._places = table.to(device), places.to(device)

    def random(self, draw: Draws, side: Tensor, shape: torch.Size) -> Tensor:
        """A pattern in the square of `random_window(draw, 0, ...)`, lying or standing: float (M, K, H, W), zero elsewhere."""
        rows, columns = (_offsets(draw, axis, side, shape[2 + axis]) for axis in (0, 1))
        covered = _inside(rows, side)[..., :, None] & _inside(columns, side)[..., None, :]
        i, j = rows.clamp(0, self._most - 1)[..., :, None], columns.clamp(0, self._most - 1)[..., None, :]
        lies = ((draw.word(2) & 1) == 1)[..., None, None]
        i, j = torch.broadcast_tensors(i, j)
        values = self._table[self._places[side][..., None, None], torch.where(lies, j, i), torch.where(lies, i, j)]
        return values * covered


def eta(side: int) -> Tensor:
    """Two bumps of opposite sign in a square, of norm 1 (section 3.2, eq. 2 and 3): float (side, side)."""
    upper = side // 2
    pattern = torch.zeros(side, side)
    pattern[:upper] = _bump(upper, side)
    pattern[upper:] = -_bump(side - upper, side)
    return pattern / pattern.norm()


def _bump(height: int, width: int) -> Tensor:
    """Rectangles around the middle, each one larger and weaker (1 / 1², 1 / 2² ...), of norm 1: float (height, width)."""
    bump = torch.zeros(height, width)
    if not height:
        return bump
    top, left = height // 2, width // 2
    for ring in range(max(height // 2, width // 2) + 1):
        rows = slice(max(top - ring, 0), min(top + ring + 1, height))
        columns = slice(max(left - ring, 0), min(left + ring + 1, width))
        bump[rows, columns] += 1 / (ring + 1) ** 2
    return bump / bump.norm()


def stripes(ball: Ball, start: Starts, restart: int) -> Tensor:
    """Vertical stripes of ±eps in every channel, one pixel wide (section 3.1): float (N, C, H, W)."""
    rows, channels, _, width = ball.images.shape
    bits = start.words(f"square {restart} stripes", channels * width) >> 40 & 1
    signs = (1.0 - 2.0 * bits).view(rows, channels, 1, width).to(ball.images)
    return (ball.images + signs * ball.eps).clamp(ball.lower, ball.upper)


def tiles(ball: Ball, start: Starts, restart: int) -> Tensor:
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
    return (ball.images + change * (ball.eps / l2_norm(change).clamp_min(SMALLEST_NORM))).clamp(0, 1)
