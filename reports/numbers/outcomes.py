"""Stored predictions as compact arrays: one vector of outcomes per (attack, after which task, task).

Millions of rows become one int8 per prediction. Class and margin are kept only for the classifiers after the last task, where
F1 and `worst` are taken.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

NOT_MEASURED = -1
OutcomeCell = tuple[int, int]
"""(after which task, task), both from 0."""


@dataclass(frozen=True)
class Final:
    """The predictions of a classifier after the last task.

    predicted: int16 (n,), -1 for samples that are not covered.
    margin: float32 (n,), NaN for those.
    """

    predicted: np.ndarray
    margin: np.ndarray


@dataclass(frozen=True)
class Outcomes:
    """All outcomes of one run.

    tasks: T, the number of tasks.
    samples[j], labels[j]: ids and labels (n_j,) of task j's test samples, by ascending id.
    correct[attack][i, j]: int8 (n_j,), 1 right, 0 wrong, -1 not covered.
    final[attack][j]: class and margin after the last task.
    """

    tasks: int
    samples: list[np.ndarray]
    labels: list[np.ndarray]
    correct: Mapping[str, Mapping[OutcomeCell, np.ndarray]]
    final: Mapping[str, Mapping[int, Final]]

    @property
    def last(self) -> int:
        return self.tasks - 1

    @property
    def attacks(self) -> list[str]:
        return sorted(self.correct)

    @cached_property
    def one_head(self) -> bool:
        """True if one head answers among the classes of all tasks (protocol `class`): then no label stands in two of them."""
        found = [label for labels in self.labels for label in np.unique(labels).tolist()]
        return self.tasks > 1 and len(found) == len(set(found)) > 0

    @cached_property
    def _counted(self) -> dict[str, dict[OutcomeCell, tuple[int, int]]]:
        return {}

    def counts(self, attack: str) -> Mapping[OutcomeCell, tuple[int, int]]:
        """The numbers of right and of covered samples, for each stored cell of an attack."""
        if attack not in self._counted:
            cells = self.correct.get(attack, {})
            self._counted[attack] = {
                cell: (int(np.count_nonzero(right == 1)), int(np.count_nonzero(right != NOT_MEASURED)))
                for cell, right in cells.items()
            }
        return self._counted[attack]

    @cached_property
    def _flat(self) -> dict[str, np.ndarray]:
        return {}

    def after_last(self, attack: str) -> np.ndarray:
        """The outcomes int8 (n,) after the last task, over the samples of all tasks, task after task."""
        if attack not in self._flat:
            cells = [self.vector(attack, self.last, j) for j in range(self.tasks)]
            self._flat[attack] = np.concatenate(cells) if cells else np.empty(0, np.int8)
        return self._flat[attack]

    @cached_property
    def ids(self) -> np.ndarray:
        """The samples of all tasks as (task, sample id), task after task: int64 (n, 2)."""
        parts = [np.column_stack([np.full(len(ids), j, np.int64), ids]) for j, ids in enumerate(self.samples)]
        return np.concatenate([np.empty((0, 2), np.int64), *parts])

    def vector(self, attack: str, after_task: int, task: int) -> np.ndarray:
        """The outcomes int8 (n_task,) of one cell; all -1 if it is not stored."""
        cell = self.correct.get(attack, {}).get((after_task, task))
        return np.full(len(self.samples[task]), NOT_MEASURED, np.int8) if cell is None else cell

    def covered(self, attack: str) -> int:
        """The number of samples of all tasks that an attack covers after the last one."""
        return int(np.count_nonzero(self.after_last(attack) != NOT_MEASURED))

    def with_attack(self, name: str, correct: Mapping[OutcomeCell, np.ndarray], final: Mapping[int, Final]) -> Outcomes:
        """The same outcomes and one more, derived attack."""
        return Outcomes(
            self.tasks, self.samples, self.labels, {**self.correct, name: correct}, {**self.final, name: final}
        )

    def only(self, attacks: Iterable[str]) -> Outcomes:
        """The outcomes of these attacks."""
        wanted = set(attacks)
        return Outcomes(
            self.tasks,
            self.samples,
            self.labels,
            {name: cells for name, cells in self.correct.items() if name in wanted},
            {name: cells for name, cells in self.final.items() if name in wanted},
        )

    def on_same_images(self, attacks: Iterable[str]) -> Outcomes:
        """These outcomes, in which all cells of a task from its own turn on cover the same images, attack by attack.

        Metrics compare these cells. A classifier that was attacked on more images after the last task than before has forgotten
        nothing by that.
        """
        changed: dict[str, Mapping[OutcomeCell, np.ndarray]] = {}
        for attack in attacks:
            cells = self.correct.get(attack, {})
            fewer: dict[OutcomeCell, np.ndarray] = {}
            for task in range(self.tasks):
                column = {cell: right for cell, right in cells.items() if cell[1] == task <= cell[0]}
                if column:
                    covered = [right != NOT_MEASURED for right in column.values()]
                    by_all = np.all(covered, 0)
                    if any((each & ~by_all).any() for each in covered):
                        fewer |= {
                            cell: np.where(by_all, right, NOT_MEASURED).astype(np.int8)
                            for cell, right in column.items()
                        }
            if fewer:
                changed[attack] = {**cells, **fewer}
        if not changed:
            return self
        return Outcomes(self.tasks, self.samples, self.labels, {**self.correct, **changed}, self.final)


def outcomes_of(predictions: pd.DataFrame, tasks: int) -> Outcomes:
    """Read a frame with the columns of `results.schema.PREDICTIONS`. Rows of tasks outside 0..tasks-1 are left out."""
    names = predictions["attack"].astype("category")
    attack, after, task = names.cat.codes.to_numpy(), *(predictions[c].to_numpy() for c in ("after_task", "task"))
    inside = (attack >= 0) & (after >= 0) & (after < tasks) & (task >= 0) & (task < tasks)
    key = (attack.astype(np.int64) * tasks + after) * tasks + task
    sample = predictions["sample"].to_numpy()
    order = np.argsort(key, kind="stable")
    order = order[inside[order]]
    key, sample = key[order], sample[order]
    label, predicted, margin = (predictions[c].to_numpy()[order] for c in ("label", "predicted", "margin"))

    cuts = np.flatnonzero(np.diff(key)) + 1
    bounds = list(zip([0, *cuts], [*cuts, len(key)], strict=True)) if len(key) else []
    ids, labels = _test_sets(bounds, key, sample, label, tasks)
    correct: dict[str, dict[OutcomeCell, np.ndarray]] = defaultdict(dict)
    final: dict[str, dict[int, Final]] = defaultdict(dict)
    categories = list(names.cat.categories)
    for start, stop in bounds:
        rest, j = divmod(int(key[start]), tasks)
        code, i = divmod(rest, tasks)
        place = np.searchsorted(ids[j], sample[start:stop])
        right = np.full(len(ids[j]), NOT_MEASURED, np.int8)
        right[place] = predicted[start:stop] == label[start:stop]
        correct[categories[code]][i, j] = right
        if i == tasks - 1:
            classes, margins = np.full(len(ids[j]), -1, np.int16), np.full(len(ids[j]), np.nan, np.float32)
            classes[place], margins[place] = predicted[start:stop], margin[start:stop]
            final[categories[code]][j] = Final(classes, margins)
    return Outcomes(tasks, ids, labels, dict(correct), dict(final))


def _test_sets(
    bounds: list[tuple[int, int]], key: np.ndarray, sample: np.ndarray, label: np.ndarray, tasks: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The sample ids of each task, ascending and distinct over all its cells, and their labels."""
    ids = [np.empty(0, sample.dtype) for _ in range(tasks)]
    labels = [np.empty(0, label.dtype) for _ in range(tasks)]
    for start, stop in bounds:
        j = int(key[start]) % tasks
        if stop - start == len(ids[j]) and np.array_equal(ids[j], sample[start:stop]):
            continue
        ids[j], first = np.unique(np.concatenate([ids[j], sample[start:stop]]), return_index=True)
        labels[j] = np.concatenate([labels[j], label[start:stop]])[first]
    return ids, labels
