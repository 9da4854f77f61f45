"""What is demanded of a run minus what is stored: the cells still to be measured. There is no other marker of progress."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from attacks.base import Attack
from attacks.planning import SharedRun, share_trajectories
from benchmark.demands import Demand
from benchmark.identity import measurement
from benchmark.presets import Preset
from results.files import canonical_json, digest
from results.records import Run
from scenarios.base import ImageSet, Task


@dataclass(frozen=True, slots=True)
class Cell:
    """One attack on one task after a task was learned, and the samples that it still lacks."""

    after_task: int
    task: int
    attack: Attack
    missing: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Work:
    """Trajectories to run on one task after a task was learned: attacks that share one and lack the same samples."""

    after_task: int
    task: int
    run: SharedRun
    samples: tuple[int, ...]


class Stored:
    """Which samples a stored run holds, by (after_task, task, measurement)."""

    def __init__(self, run: Run | None) -> None:
        self._samples: dict[tuple[int, int, str], set[int]] = {}
        if run is None:
            return
        measured: dict[tuple[int, int, str], str] = {}
        for row in run.evaluations.to_dict("records"):
            what = {"attack": row["specification"], "task": row["task_fingerprint"]}
            key = digest({**what, "seed": int(row["seed"]), "precision": row["precision"]})
            measured[(row["after_task"], row["task"], row["evaluation_id"])] = key
        frame = run.predictions
        cells: Any = frame.groupby(["after_task", "task", "evaluation_id"], observed=True)["sample"]
        for (after_task, task, evaluation_id), samples in cells:
            found = measured.get((after_task, task, evaluation_id))
            # Predictions without their evaluation's row (a kill came between the two) are measured again.
            if found is not None:
                self._samples.setdefault((int(after_task), int(task), found), set()).update(samples.tolist())

    def samples(self, after_task: int, task: Task, attack: Attack, preset: Preset) -> set[int]:
        evaluation = preset.file.evaluation
        what = measurement(attack, task.test_fingerprint, evaluation.seed, evaluation.precision)
        key = digest({**what, "attack": canonical_json(what["attack"])})
        return self._samples.get((after_task, task.id, key), set())


def demanded(preset: Preset, tasks: Sequence[Task], after_task: int, all_at_once: bool) -> list[tuple[Task, Demand]]:
    """The attacks demanded after a task: the matrix on every seen task, and after the last one everything."""
    last = after_task == len(tasks) - 1
    if all_at_once and not last:
        return []
    wanted = preset.final if last else preset.matrix
    return [(task, demand) for task in tasks[: after_task + 1] for demand in wanted]


def missing(preset: Preset, tasks: Sequence[Task], stored: Stored, after_task: int, all_at_once: bool) -> list[Cell]:
    """Cells of one turn that are not stored, or not on all samples that are demanded."""
    cells = []
    for task, demand in demanded(preset, tasks, after_task, all_at_once):
        lacking = set(_first_samples(task.test, demand)) - stored.samples(after_task, task, demand.attack, preset)
        if lacking:
            cells.append(Cell(after_task, task.id, demand.attack, tuple(sorted(lacking))))
    return cells


def _first_samples(test: ImageSet, demand: Demand) -> list[int]:
    return test.samples[test.balanced_order()[: demand.covers(len(test))]].tolist()


def shared_work(cells: Sequence[Cell]) -> list[Work]:
    """Cells joined to trajectories: attacks on the same task, lacking the same samples, that differ in steps only."""
    groups: dict[tuple[int, int, tuple[int, ...]], list[Attack]] = {}
    for cell in cells:
        groups.setdefault((cell.after_task, cell.task, cell.missing), []).append(cell.attack)
    return [
        Work(after_task, task, run, samples)
        for (after_task, task, samples), attacks in groups.items()
        for run in share_trajectories(attacks)
    ]
