"""Places of words in a figure: columns of a legend, labels at the ends of lines, labels beside points. Plain geometry."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reports.numbers.metrics import Array

LONGEST_LABEL, MOST_COLUMNS, LEGEND_WIDTH = 32, 5, 6.9
"""Letters of an entry, columns and inches of a legend."""
LETTER = 0.62
"""Width of a letter in units of the size of its font. It is wider than most are, so that words fit where they should."""
_ANGLES = np.deg2rad([0, 180, 30, -30, 150, -150, 15, -15, 165, -165, 60, -60, 120, -120, 90, -90])
"""Directions in which a label is tried: beside its point rather than over it, where its interval is."""
_DISTANCES = (4.0, 7.0, 11.0, 16.0, 22.0, 29.0, 37.0, 46.0, 56.0, 68.0, 80.0)
"""Points from an anchor at which a label is tried."""
_NEARER_TO_ANOTHER, _THROUGH_ANOTHER, _NEAR = 25.0, 60.0, 4.5
"""The cost, in points of distance, of a label that stands nearer to another anchor, and of one whose line passes another
anchor at less than the third number of points."""
_ROUNDS = 4
_HIT = 1e3
"""The cost of a square point of overlap, in points of distance. Any distance is better."""


def legend_columns(labels: Sequence[str]) -> int:
    """The number of columns of a legend that fit side by side, if it is filled column by column, as matplotlib does."""
    for columns in range(min(MOST_COLUMNS, len(labels)), 1, -1):
        widest = [max(map(len, column)) for column in np.array_split(np.array(labels, object), columns)]
        if sum(0.46 + 0.058 * letters for letters in widest) <= LEGEND_WIDTH:
            return columns
    return 1


def spread(places: Sequence[float] | Array, gap: float, low: float = -np.inf, high: float = np.inf) -> Array:
    """Move places as little as possible (least squares) until neighbours are `gap` apart, in their order, within low..high.

    Neighbours that are too close are pooled, as in isotonic regression. If they do not fit between low and high, they start at
    low and stand closer.
    """
    places = np.asarray(places, float)
    if len(places) == 0:
        return places
    room = high - low
    gap = min(gap, room / max(1, len(places) - 1))
    order = np.argsort(places, kind="stable")
    steps = gap * np.arange(len(places))
    pools: list[tuple[float, int]] = []
    for value in places[order] - steps:
        mean, count = float(value), 1
        while pools and pools[-1][0] > mean:
            other, members = pools.pop()
            mean, count = (mean * count + other * members) / (count + members), count + members
        pools.append((mean, count))
    moved = np.repeat([mean for mean, _ in pools], [count for _, count in pools])
    found = np.empty_like(places)
    found[order] = np.clip(moved, low, high - steps[-1]) + steps
    return found


def beside(anchors: Array, sizes: Array, obstacles: Array, bounds: tuple[float, float, float, float]) -> Array:
    """The lower left corners (n, 2) of labels near their anchors that overlap neither each other nor obstacles, if possible.

    anchors: (n, 2), in points.
    sizes: (n, 2), width and height.
    obstacles: (m, 4), x0, y0, x1, y1.
    bounds: x0, y0, x1, y1.

    Each label in turn takes the nearest of some places around its anchor that is free of the others, several times over.
    """
    candidates = [_around(k, anchors, size, bounds) for k, size in enumerate(sizes)]
    boxes = np.full((len(anchors), 4), np.nan)
    # A label with many neighbours has little choice, so it comes first.
    crowd = np.linalg.norm(anchors[:, None] - anchors[None], axis=-1)
    order = np.argsort(np.sort(crowd, 1)[:, : min(4, len(anchors))].sum(1), kind="stable")
    for _ in range(_ROUNDS):
        for k in order:
            places, cost = candidates[k]
            others = np.concatenate([obstacles, np.delete(boxes, k, 0)])
            boxes[k] = places[np.argmin(cost + _HIT * _overlap(places, others[~np.isnan(others[:, 0])]))]
    return boxes[:, :2]


def _around(k: int, anchors: Array, size: Array, bounds: tuple[float, float, float, float]) -> tuple[Array, Array]:
    """The boxes (m, 4) to try for the k-th label, and their costs (m,): distance, parts out of bounds, other anchors near by."""
    anchor, others = anchors[k], np.delete(anchors, k, 0)
    directions = np.column_stack([np.cos(_ANGLES), np.sin(_ANGLES)])
    # The distance is that of the label's side that faces the anchor.
    corner = np.where(directions > 0.2, 0, np.where(directions < -0.2, -1, -0.5)) * size
    low = (anchor + np.array(_DISTANCES)[:, None, None] * directions + corner).reshape(-1, 2)
    boxes = np.concatenate([low, low + size], 1)
    x0, y0, x1, y1 = bounds
    outside = np.maximum(0, [x0 - boxes[:, 0], y0 - boxes[:, 1], boxes[:, 2] - x1, boxes[:, 3] - y1]).sum(0)
    preference = np.tile(0.2 * np.arange(len(_ANGLES)), len(_DISTANCES))
    cost = np.repeat(_DISTANCES, len(_ANGLES)) + preference + _HIT * outside
    if len(others):
        nearest = np.clip(anchor, low, low + size)
        own = np.linalg.norm(nearest - anchor, axis=1)
        to_others = np.linalg.norm(np.clip(others, low[:, None], (low + size)[:, None]) - others, axis=-1).min(1)
        cost = (
            cost + _NEARER_TO_ANOTHER * (to_others < own) + _THROUGH_ANOTHER * (_past(anchor, nearest, others) < _NEAR)
        )
    return boxes, cost


def _past(start: Array, ends: Array, points: Array) -> Array:
    """The smallest distance (m,) of the straight lines from start (2,) to ends (m, 2) from any of the points (k, 2)."""
    along = ends - start
    length = np.maximum((along**2).sum(1), 1e-12)[:, None]
    part = np.clip(((points[None] - start) * along[:, None]).sum(-1) / length, 0, 1)
    return np.linalg.norm(start + part[..., None] * along[:, None] - points[None], axis=-1).min(1)


def _overlap(boxes: Array, others: Array) -> Array:
    """The area (k,) that each box shares with all others."""
    width = np.minimum(boxes[:, None, 2], others[None, :, 2]) - np.maximum(boxes[:, None, 0], others[None, :, 0])
    height = np.minimum(boxes[:, None, 3], others[None, :, 3]) - np.maximum(boxes[:, None, 1], others[None, :, 1])
    return (np.clip(width, 0, None) * np.clip(height, 0, None)).sum(1)
