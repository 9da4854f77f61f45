"""The cells that a run still lacks: what is demanded minus what is stored. There is no other marker of progress."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from attacks.base import Attack
from attacks.parts.sharing import SharedRun, share_runs
from attacks.threat_model import ThreatModel
from attacks.transfer import Transfer
from benchmark.planning.demands import Demand
from benchmark.planning.extra_attacks import extra_demands
from benchmark.planning.jobs import Job
from benchmark.planning.presets import Preset
from results.adversarial import attacked_samples
from results.files import canonical_json, digest
from results.records import Run
from scenarios.base import ImageSet, Task


@dataclass(frozen=True, slots=True)
class Cell:
    """One attack on one task after a task was learned.

    after_task: id of the task that was learned last.
    task: id of the attacked task.
    attack: the attack.
    missing: ids of the samples that the attack must still be run on, ascending.
    extra: True for an extra attack. It runs apart from the others, so that their batches are the same with and without it.
    """

    after_task: int
    task: int
    attack: Attack
    missing: tuple[int, ...]
    extra: bool = False


@dataclass(frozen=True, slots=True)
class Work:
    """Attacks of one family that run together, because all of them lack the same samples.

    after_task: id of the task that was learned last.
    task: id of the attacked task.
    run: the attacks.
    samples: ids of the samples, ascending.
    extra: True for extra attacks.
    """

    after_task: int
    task: int
    run: SharedRun
    samples: tuple[int, ...]
    extra: bool = False


class Stored:
    """The samples that a stored run holds of each attack.

    If the preset keeps images, a sample counts only if the run's kept images cover it too.
    """

    def __init__(self, run: Run | None, preset: Preset) -> None:
        """run: None if nothing is stored."""
        self._preset = preset
        self._samples: dict[tuple[int, int, str], set[int]] = {}
        if run is None:
            return
        evaluated: dict[tuple[int, int, str], str] = {}
        for row in run.evaluations.to_dict("records"):
            fields = {"attack": row["specification"], "task": row["task_fingerprint"]}
            key = digest({**fields, "seed": int(row["seed"]), "precision": row["precision"]})
            evaluated[(row["after_task"], row["task"], row["evaluation_id"])] = key
        keep_images = preset.evaluation.keep_images
        held = attacked_samples(run.directory) if keep_images else {}
        frame = run.predictions
        cells: Any = frame.groupby(["after_task", "task", "evaluation_id"], observed=True)["sample"]
        for (after_task, task, evaluation_id), samples in cells:
            found = evaluated.get((after_task, task, evaluation_id))
            # Predictions without their evaluation's row (a kill came between the two) are made again.
            if found is not None:
                there = set(samples.tolist())
                if keep_images:
                    there &= held.get((evaluation_id, int(after_task)), set())
                self._samples.setdefault((int(after_task), int(task), found), set()).update(there)

    def samples(self, after_task: int, task: Task, attack: Attack) -> set[int]:
        """Ids of the stored samples of an attack on a task after another one was learned."""
        fields = self._preset.evaluation_fields(attack, task)
        key = digest({**fields, "attack": canonical_json(fields["attack"])})
        return self._samples.get((after_task, task.id, key), set())


Demanded = list[tuple[Task, Demand]]
"""Attacks, each with the task that it is demanded on."""


def demanded(job: Job, tasks: Sequence[Task], after_task: int, *, extra: bool = True) -> Demanded:
    """The attacks demanded after a task: those of the matrix on every task so far, after the last task all others too.

    extra: False to leave extra attacks out; a record is complete without them.
    """
    last = after_task == len(tasks) - 1
    if job.learn_only or (job.all_at_once and not last):
        return []
    attacks = job.preset.matrix
    if last:
        attacks = [*job.preset.final, *(extra_demands(job.preset, tasks) if extra else [])]
    return [(task, demand) for task in tasks[: after_task + 1] for demand in attacks]


def demanded_transfers(job: Job, tasks: Sequence[Task]) -> Demanded:
    """The transfers demanded after the last task from the job's sources. Their surrogates are not restored yet."""
    found = []
    for demand in job.preset.transfers:
        attack = demand.attack
        assert isinstance(attack, Transfer)
        if attack.source in job.sources:
            found.append(replace(demand, attack=replace(attack, origin=job.sources[attack.source].hash)))
    return [(task, demand) for task in tasks for demand in found]


def missing_cells(demanded: Demanded, stored: Stored, after_task: int) -> list[Cell]:
    """Demanded minus stored: the cells after a task that lack samples, with those samples."""
    cells = []
    for task, demand in demanded:
        samples = set(_first_samples(task.test, demand)) - stored.samples(after_task, task, demand.attack)
        if samples:
            cells.append(Cell(after_task, task.id, demand.attack, tuple(sorted(samples)), demand.extra))
    return cells


def is_handed_over(attack: Attack, ranking: ThreatModel) -> bool:
    """True if images of this attack are judged afresh: those at the ranking's norm, up to its eps.

    Transfers are made later, on other classifiers.
    """
    model = attack.threat_model
    inside = model.eps == 0 or (model.norm == ranking.norm and model.eps <= ranking.eps)
    return inside and not isinstance(attack, Transfer)


def to_hand_over_again(job: Job, tasks: Sequence[Task], stored: Stored) -> list[Cell]:
    """The stored cells after the last task whose images were to be judged afresh, with their samples."""
    last = tasks[-1].id
    cells = []
    for task, demand in demanded(job, tasks, last):
        samples = set(_first_samples(task.test, demand)) & stored.samples(last, task, demand.attack)
        if samples and is_handed_over(demand.attack, job.preset.ranking):
            cells.append(Cell(last, task.id, demand.attack, tuple(sorted(samples)), demand.extra))
    return cells


def cells_of(demands: Iterable[Demand], task: Task, after_task: int) -> list[Cell]:
    """The cells of attacks on a task of which nothing is stored."""
    return [
        Cell(after_task, task.id, demand.attack, tuple(sorted(_first_samples(task.test, demand))), demand.extra)
        for demand in demands
    ]


def _first_samples(test: ImageSet, demand: Demand) -> list[int]:
    """Ids of the samples that a demand covers: the first in an order in which classes take turns."""
    return test.samples[test.balanced_order()[: demand.covers(len(test))]].tolist()


def shared_work(cells: Sequence[Cell]) -> list[Work]:
    """Join cells to runs: attacks of a family run together on the samples that they lack together.

    PGD-10 on all samples and PGD-40 on the first hundred become one run of forty steps on these, and one of ten on the rest.
    """
    groups: dict[tuple[int, int, bool], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.after_task, cell.task, cell.extra), []).append(cell)
    works = []
    for (after_task, task, extra), group in groups.items():
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
                Work(after_task, task, SharedRun(attacks), tuple(samples), extra)
                for attacks, samples in together.items()
            ]
    return works
