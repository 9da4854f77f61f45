"""The rows of a preset at the points of a grid, each compared with the row as the preset has it.

Pure functions of outcomes per validation image. All points have the same images, so every difference is paired.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from reports.numbers.statistics.contrasts import SeedOutcomes, contrast, mean_accuracy
from reports.numbers.statistics.intervals import Interval, interval_kind
from reports.numbers.wording import counted

AS_PRESET = "preset"
"""The word for the values of a preset where a line is no point of the grid."""

Values = tuple[tuple[str, str], ...]
"""(key, value) of a point, as text."""


@dataclass(frozen=True)
class TunedRow:
    """A row as it trains at some points of a grid.

    points: the points at which it trains like this; none for the row as the preset has it, if no point of the grid is that.
    keys: of the grid, those that change this row; empty for a row that the grid does not vary.
    own: True if the row trains as the preset has it.
    robust, clean: validation images that are right after the last task, under the validation attack and unchanged.
    """

    label: str
    points: tuple[Values, ...]
    keys: tuple[str, ...]
    own: bool
    robust: SeedOutcomes
    clean: SeedOutcomes

    @property
    def values(self) -> Values:
        """The values of the keys that change this row."""
        return _of_keys(self.points[0], self.keys) if self.points else ()


@dataclass(frozen=True)
class Trial:
    """A row at a point, compared with the row as the preset has it; accuracies in [0, 1], means over tasks and seeds.

    values: of the keys that change it; empty if it is no point of the grid.
    own: True if it is the row as the preset has it.
    robust, bounds: accuracy under the validation attack, and its 95 % interval.
    clean: accuracy on unchanged validation images.
    above, above_bounds: `robust` less that of the row as the preset has it, and its paired 95 % interval.
    best: True for the row's highest `robust`; of equal ones the preset's own, or else the first.
    seeds, images: their numbers, images of one seed.
    """

    label: str
    values: Values
    own: bool
    robust: float
    bounds: Interval
    clean: float
    above: float
    above_bounds: Interval
    best: bool
    seeds: int
    images: int


def trials_of(rows: Sequence[TunedRow]) -> list[Trial]:
    """Compare every row at every point with itself as the preset has it; then the mean of the rows that the grid varies.

    rows: of each label one `own` row among them.
    A recipe for all rows is chosen by the mean. It is there for the points at which every one of these rows has outcomes: over
    other rows it would differ by the rows too.
    """
    by_label: dict[str, list[TunedRow]] = {}
    for row in rows:
        by_label.setdefault(row.label, []).append(row)
    found = []
    for label, mine in by_label.items():
        found += _compared(label, [(row.values, [row]) for row in mine])
    varied = [mine for mine in by_label.values() if mine[0].keys]
    if len(varied) > 1:
        found += _compared(f"mean of {counted(len(varied), 'row')}", _together(varied))
    return found


Group = tuple[Values, Sequence[TunedRow]]
"""A point, and the rows whose mean is meant there."""


def _together(varied: Sequence[Sequence[TunedRow]]) -> list[Group]:
    """The points at which all of several labels have outcomes, and all of them as the preset has them."""
    keys = {key for mine in varied for key in mine[0].keys}
    groups: dict[tuple[int, ...], Group] = {}
    own = [next(row for row in mine if row.own) for mine in varied]
    for point in dict.fromkeys(point for mine in varied for row in mine for point in row.points):
        there = [next((row for row in mine if point in row.points), None) for mine in varied]
        group = [row for row in there if row is not None]
        if len(group) == len(varied):
            # Points that differ in what changes none of these rows are one.
            groups.setdefault(tuple(map(id, group)), (_of_keys(point, keys), group))
    as_preset = tuple(map(id, own))
    return list(groups.values()) if as_preset in groups else [((), own), *groups.values()]


def _of_keys(point: Values, keys: Sequence[str] | set[str]) -> Values:
    return tuple((key, value) for key, value in point if key in keys)


def _compared(label: str, groups: Sequence[Group]) -> list[Trial]:
    """A line for each point, compared with the group of rows that all are as the preset has them."""
    own = next(group for _, group in groups if all(row.own for row in group))
    robust = [sum(mean_accuracy(row.robust) for row in group) / len(group) for _, group in groups]
    best = max(range(len(groups)), key=lambda k: (robust[k], groups[k][1] is own, -k))
    found = []
    for k, (values, group) in enumerate(groups):
        share = 1 / len(group)
        terms = [(share, row.robust) for row in group]
        above, above_bounds = 0.0, Interval(0.0, 0.0)
        if group is not own:
            above, above_bounds = contrast([*terms, *((-share, row.robust) for row in own)])
        found.append(
            Trial(
                label=label,
                values=values,
                own=group is own,
                robust=robust[k],
                bounds=contrast(terms)[1],
                clean=sum(mean_accuracy(row.clean) for row in group) / len(group),
                above=above,
                above_bounds=above_bounds,
                best=k == best,
                seeds=len(set.intersection(*(set(row.robust) for row in group))),
                images=sum(len(task) for task in next(iter(group[0].robust.values()))),
            )
        )
    return found


def keys_of(trials: Sequence[Trial]) -> list[str]:
    """The keys of the grid that change a row, in its order."""
    return list(dict.fromkeys(key for trial in trials for key, _ in trial.values))


def kind_of_interval(seeds: int) -> str:
    """As `interval_kind`, for intervals over validation images."""
    return "noise of the validation images only" if seeds == 1 else interval_kind(seeds)


def tuning_table(trials: Sequence[Trial], tasks: int) -> pd.DataFrame:
    """The trials, a line each: a column per key of the grid, accuracies and differences in [0, 1].

    tasks: the number of tasks that were learned.
    """
    return pd.DataFrame(
        [
            {
                "label": trial.label,
                **{key: _value(trial, key) for key in keys_of(trials)},
                "of_preset": trial.own,
                "best": trial.best,
                "validation_robust": trial.robust,
                "low": trial.bounds.low,
                "high": trial.bounds.high,
                "validation_clean": trial.clean,
                "above_preset": trial.above,
                "above_low": trial.above_bounds.low,
                "above_high": trial.above_bounds.high,
                "tasks": tasks,
                "seeds": trial.seeds,
                "images": trial.images,
                "interval": kind_of_interval(trial.seeds),
            }
            for trial in trials
        ]
    )


def _value(trial: Trial, key: str) -> str:
    """The value of a key, empty where the key does not change the row."""
    return dict(trial.values).get(key, AS_PRESET if trial.own and not trial.values else "")
