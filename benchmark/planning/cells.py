"""What is demanded of a run minus what is stored: the cells still to be measured. There is no other marker of progress."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from attacks.base import Attack
from attacks.parts.sharing import SharedRun, share_runs
from benchmark.evaluating.fingerprints import measurement
from benchmark.planning.demands import Demand
from benchmark.planning.extra_attacks import check_demands
from benchmark.planning.presets import Preset
from results.adversarial import attacked_samples
from results.files import canonical_json, digest
from results.records import Run
from scenarios.base import ImageSet, Task


@dataclass(frozen=True, slots=True)
class Cell:
    """One attack on one task after a task was learned, and the samples that it still lacks.

    for_checks: whether only checks look at it. It then runs apart from the others, so that no batch of theirs is another.
    """

    after_task: int
    task: int
    attack: Attack
    missing: tuple[int, ...]
    for_checks: bool = False


@dataclass(frozen=True, slots=True)
class Work:
    """Attacks to run together on one task after a task was learned: of one family, all lacking the same samples."""

    after_task: int
    task: int
    run: SharedRun
    samples: tuple[int, ...]


class Stored:
    """Which samples a stored run holds of what a preset demands.

    Where the preset keeps images, a sample counts only if the run holds its adversarial image too, had there been one.
    """

    def __init__(self, run: Run | None, preset: Preset) -> None:
        self._evaluation = preset.file.evaluation
        self._samples: dict[tuple[int, int, str], set[int]] = {}
        if run is None:
            return
        measured: dict[tuple[int, int, str], str] = {}
        for row in run.evaluations.to_dict("records"):
            what = {"attack": row["specification"], "task": row["task_fingerprint"]}
            key = digest({**what, "seed": int(row["seed"]), "precision": row["precision"]})
            measured[(row["after_task"], row["task"], row["evaluation_id"])] = key
        keep_images = self._evaluation.keep_images
        held = attacked_samples(run.directory) if keep_images else {}
        frame = run.predictions
        cells: Any = frame.groupby(["after_task", "task", "evaluation_id"], observed=True)["sample"]
        for (after_task, task, evaluation_id), samples in cells:
            found = measured.get((after_task, task, evaluation_id))
            # Predictions without their evaluation's row (a kill came between the two) are measured again.
            if found is not None:
                there = set(samples.tolist())
                if keep_images:
                    there &= held.get((evaluation_id, int(after_task)), set())
                self._samples.setdefault((int(after_task), int(task), found), set()).update(there)

    def samples(self, after_task: int, task: Task, attack: Attack) -> set[int]:
        what = measurement(attack, task.test_fingerprint, self._evaluation.seed, self._evaluation.precision)
        key = digest({**what, "attack": canonical_json(what["attack"])})
        return self._samples.get((after_task, task.id, key), set())


def demanded(
    preset: Preset, tasks: Sequence[Task], after_task: int, all_at_once: bool, checks: bool = True
) -> list[tuple[Task, Demand]]:
    """The attacks demanded after a task: the matrix on every seen task, and after the last one everything.

    checks: with those that only checks look at; a record is complete without them.
    """
    last = after_task == len(tasks) - 1
    if all_at_once and not last:
        return []
    wanted = [*preset.final, *(check_demands(preset, tasks) if checks else [])] if last else preset.matrix
    return [(task, demand) for task in tasks[: after_task + 1] for demand in wanted]


def missing(
    preset: Preset, tasks: Sequence[Task], stored: Stored, after_task: int, all_at_once: bool, checks: bool = True
) -> list[Cell]:
    """Cells of one turn that are not stored, or not on all samples that are demanded; checks: as in `demanded`."""
    own = {demand.attack for demand in (*preset.matrix, *preset.final)}
    cells = []
    for task, demand in demanded(preset, tasks, after_task, all_at_once, checks):
        lacking = lacking_samples(stored, task, demand, after_task)
        if lacking:
            cells.append(Cell(after_task, task.id, demand.attack, lacking, demand.attack not in own))
    return cells


def lacking_samples(stored: Stored, task: Task, demand: Demand, after_task: int) -> tuple[int, ...]:
    """Ids of the samples that an attack must still be run on, ascending."""
    wanted = set(_first_samples(task.test, demand))
    return tuple(sorted(wanted - stored.samples(after_task, task, demand.attack)))


def cells_of(demands: Sequence[Demand], task: Task, after_task: int) -> list[Cell]:
    """The cells of attacks on a task of which nothing is stored."""
    return [Cell(after_task, task.id, d.attack, tuple(sorted(_first_samples(task.test, d)))) for d in demands]


def _first_samples(test: ImageSet, demand: Demand) -> list[int]:
    return test.samples[test.balanced_order()[: demand.covers(len(test))]].tolist()


def shared_work(cells: Sequence[Cell]) -> list[Work]:
    """Cells joined to runs. Attacks of a family run together on the samples that they lack together.

    PGD-10 on all samples and PGD-40 on the first hundred are one run of forty steps on those, and one of ten on the rest.
    """
    groups: dict[tuple[int, int, bool], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.after_task, cell.task, cell.for_checks), []).append(cell)
    works = []
    for (after_task, task, _), group in groups.items():
        lacking = {cell.attack: cell.missing for cell in group}
        for run in share_runs(lacking):
            by_sample: dict[int, list[Attack]] = {}
            for attack in run.members:
                for sample in lacking[attack]:
                    by_sample.setdefault(sample, []).append(attack)
            together: dict[tuple[Attack, ...], list[int]] = {}
            for sample, attacks in sorted(by_sample.items()):
                together.setdefault(tuple(attacks), []).append(sample)
            works += [
                Work(after_task, task, SharedRun(attacks), tuple(samples)) for attacks, samples in together.items()
            ]
    return works
