"""The rows of a preset at the points of a grid, each compared with the preset as it stands.

Pure functions of outcomes per validation image. All points have the same images, so every difference is paired.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from reports.numbers.statistics.contrasts import SeedOutcomes, contrast, mean_accuracy
from reports.numbers.statistics.intervals import Interval, interval_kind

ALL_ROWS = "mean of the rows"
"""The label of the lines that a preset's own recipe is chosen by: it is the same for every row."""


@dataclass(frozen=True)
class TunedRow:
    """A row at a point of a grid.

    values: (key, value) of the point, as text; empty for the preset as it stands if no point of the grid is that.
    own: True if the row trains at this point as the preset has it.
    robust, clean: validation images that are right after the last task, under the validation attack and unchanged.
    """

    label: str
    values: tuple[tuple[str, str], ...]
    own: bool
    robust: SeedOutcomes
    clean: SeedOutcomes


@dataclass(frozen=True)
class Trial:
    """A row at a point, compared with the preset as it stands; accuracies in [0, 1], means over tasks and seeds.

    values, own: as of `TunedRow`.
    robust, bounds: accuracy under the validation attack, and its 95 % interval.
    clean: accuracy on unchanged validation images.
    above, above_bounds: `robust` less that of the preset as it stands, and its paired 95 % interval.
    best: True for the row's highest `robust`; of equal ones the preset's own, or else the first.
    seeds, images: their numbers, images of one seed.
    """

    label: str
    values: tuple[tuple[str, str], ...]
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
    """
    by_label: dict[str, list[TunedRow]] = {}
    for row in rows:
        by_label.setdefault(row.label, []).append(row)
    found = []
    for label, mine in by_label.items():
        found += _compared(label, [[row] for row in mine])
    varied = [mine for mine in by_label.values() if len(mine) > 1]
    if len(varied) > 1:
        # Points at which every one of these rows was learned: a mean over other rows would differ by the rows too.
        points = [
            row.values for row in varied[0] if all(row.values in [each.values for each in mine] for mine in varied)
        ]
        groups = [[row for mine in varied for row in mine if row.values == point] for point in points]
        own = [all(row.own for row in group) for group in groups]
        if sum(own) == 1:
            found += _compared(ALL_ROWS, groups)
    return found


def _compared(label: str, groups: Sequence[Sequence[TunedRow]]) -> list[Trial]:
    """A line for each point. groups: by point the rows whose mean is meant, all of them as the preset has them in one."""
    own = next(group for group in groups if all(row.own for row in group))
    robust = [sum(mean_accuracy(row.robust) for row in group) / len(group) for group in groups]
    best = max(range(len(groups)), key=lambda k: (robust[k], groups[k] is own, -k))
    found = []
    for k, group in enumerate(groups):
        share = 1 / len(group)
        terms = [(share, row.robust) for row in group]
        above, above_bounds = contrast([*terms, *((-share, row.robust) for row in own)])
        found.append(
            Trial(
                label=label,
                values=group[0].values,
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


def tuning_table(trials: Sequence[Trial], own_values: str = "as the preset") -> pd.DataFrame:
    """The trials, a line each: a column per key of the grid, accuracies and differences in [0, 1].

    own_values: the text in the columns of the keys where a line is no point of the grid.
    """
    keys = list(dict.fromkeys(key for trial in trials for key, _ in trial.values))
    return pd.DataFrame(
        [
            {
                "label": trial.label,
                **{key: dict(trial.values).get(key, own_values) for key in keys},
                "of_preset": trial.own,
                "best": trial.best,
                "validation_robust": trial.robust,
                "low": trial.bounds.low,
                "high": trial.bounds.high,
                "validation_clean": trial.clean,
                "above_preset": trial.above,
                "above_low": trial.above_bounds.low,
                "above_high": trial.above_bounds.high,
                "seeds": trial.seeds,
                "images": trial.images,
                "interval": interval_kind(trial.seeds),
            }
            for trial in trials
        ]
    )
