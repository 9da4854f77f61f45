"""The proof that a method forgets nothing, as it claims: in a fresh process, from its last state alone.

When a task is learned, its classifier (every tensor, buffers included) and its logits on a few images are fingerprinted. After
the last task another process loads the last state, makes every classifier again and must find the same bits. It attacks some
old cells again and must find the same predictions. Copies of classifiers that the learning process kept are not there, and the
process is confined: copies in files, or anywhere else, are out of its reach.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from benchmark.evaluating.attacking import attack_task
from benchmark.evaluating.determinism import repeatable
from benchmark.evaluating.fingerprints import classifier_fingerprint
from benchmark.learning.confined.process import ConfinedProcess, Here, Made
from benchmark.learning.provenance import arithmetic
from benchmark.planning.cells import cells_of, shared_work
from benchmark.planning.jobs import Job
from benchmark.planning.machine import Machine
from results.checkpoints import tensor_hash
from results.records import Run
from results.schema import HARNESS, UNFORGETTING
from scenarios.base import LearnTask, Task
from scenarios.parts.augmentation import to_float

PROBE_IMAGES = 32
"""Validation images on which logits are fingerprinted."""

CELLS_AGAIN = 2
"""Old cells that are attacked again, at most."""


def fingerprints(classifier: nn.Module, task: Task | LearnTask) -> dict[str, str]:
    """SHA-256 of a classifier (`classifier_fingerprint`) and of its logits on the task's first validation images."""
    return fingerprints_on(classifier, task.validation.images[:PROBE_IMAGES])


def fingerprints_on(classifier: nn.Module, images: Tensor) -> dict[str, str]:
    """SHA-256 of a classifier and of its logits on images, uint8 (N, C, H, W)."""
    with torch.no_grad():
        logits = classifier(to_float(images))
    return {"classifier": classifier_fingerprint(classifier), "logits": tensor_hash(logits)}


@dataclass(frozen=True, slots=True)
class Again:
    """The findings of a fresh process.

    found: `fingerprints`, by task.
    attacked: per cell the predicted class and the margin, by sample id; without those that were attacked in other batches.
    """

    found: dict[int, dict[str, str]]
    attacked: list[dict[int, tuple[int, float]]]


@dataclass(frozen=True, slots=True)
class OldCell:
    """An attack on a task right after that task was learned.

    task: id of the task.
    attack: its place in `preset.matrix`.
    rows: that went through the classifier at once (`Attacked.rows`); 0: as many as are fastest.
    """

    task: int
    attack: int
    rows: int = 0


def old_cells(job: Job, tasks: int) -> list[OldCell]:
    """A few cells of tasks before the last, drawn by the run's hash: attacks if the matrix has any, otherwise clean passes."""
    attacks = [k for k, demand in enumerate(job.preset.matrix) if demand.attack.iterative] or [0]
    every = [OldCell(task, attack) for task in range(tasks - 1) for attack in attacks]
    return random.Random(job.hash).sample(every, min(CELLS_AGAIN, len(every)))


def make_again(
    made: Made, job: Job, device: str, probes: dict[int, Tensor], old: dict[int, Task], cells: Sequence[OldCell]
) -> Again:
    """Make classifiers, and attack each cell again. Runs in the confined process.

    probes: by task, images on which logits are fingerprinted, uint8 (N, C, H, W).
    old: the tasks of the cells, by id; only their test images are needed.
    """
    with repeatable():
        found = {task: fingerprints_on(made(task), images.to(device)) for task, images in probes.items()}
        attacked = []
        for cell in cells:
            task, attack = _on(old[cell.task], device), job.preset.matrix[cell.attack].attack
            classifier = made(task.id)
            outcomes: dict[int, tuple[int, float]] = {}
            for work in shared_work(cells_of(job.preset.matrix, task, task.id)):
                if attack not in work.run.members:
                    continue
                # Together with the same attacks, on the same samples, in batches as large: otherwise rounding differs.
                found_again = attack_task(
                    classifier, task, work.samples, work.run, job.preset.evaluation, rows=cell.rows or None
                )
                if cell.rows and found_again.rows != cell.rows:
                    continue  # memory is shorter here: other batches round differently, and say nothing about forgetting
                outcome = found_again.outcomes[attack].final
                values = zip(outcome.predicted.tolist(), outcome.margin.tolist(), strict=True)
                outcomes |= dict(zip(found_again.samples.tolist(), values, strict=True))
            attacked.append(outcomes)
    return Again(found, attacked)


def prove(
    process: ConfinedProcess | Here, job: Job, machine: Machine, run: Run, tasks: Sequence[Task]
) -> list[dict[str, Any]]:
    """Prove or refute that nothing was forgotten.

    process: makes classifiers from the checkpoint after the last task.
    run: the stored records.
    Returns facts: per task whether its classifier, its logits and, for some, its predictions are the same as when it was learned.
    A task whose fingerprints were not recorded has no fact. Logits and predictions are compared only on the library version and
    processor that computed them, because others round differently.
    """
    cells = [replace(cell, rows=_rows(job, run, cell)) for cell in old_cells(job, len(tasks))]
    probes = {task.id: task.validation.images[:PROBE_IMAGES].cpu() for task in tasks}
    old = {cell.task: _test_alone(tasks[cell.task]) for cell in cells}
    again = process.ask(make_again, job, machine.device, probes, old, cells)
    facts = run.facts[run.facts["phase"] == HARNESS]
    rows = []
    learned = {
        (int(task), name): text for task, name, text in zip(facts["task"], facts["name"], facts["text"], strict=True)
    }
    here = arithmetic(torch.device(machine.device))

    def comparable(task: int) -> bool:
        return learned.get((task, "fingerprint_arithmetic")) == here

    for task, found in again.found.items():
        for kind, value in found.items():
            before = learned.get((task, f"fingerprint_{kind}"))
            if before is not None and (kind == "classifier" or comparable(task)):
                rows.append(_fact(task, f"same_{kind}", before == value, ""))
    for cell, outcomes in zip(cells, again.attacked, strict=True):
        name = job.preset.attack_name(job.preset.matrix[cell.attack].attack)
        stored = _stored(run.predictions, cell.task, name)
        # A cell whose attack failed is not stored. One of other samples than are demanded now, or with less memory, was attacked
        # in other batches, which round otherwise. None of them says anything about forgetting.
        if stored.keys() == outcomes.keys() and comparable(cell.task):
            rows.append(_fact(cell.task, "same_predictions", stored == outcomes, f"{name}, after task {cell.task}"))
    return rows


def _test_alone(task: Task) -> Task:
    """The task without its other images, on the CPU."""
    none = torch.zeros(0, dtype=torch.int64, device=task.train.labels.device)
    train, validation = task.train.select(none).to("cpu"), task.validation.select(none).to("cpu")
    return replace(task, train=train, validation=validation, test=task.test.to("cpu"))


def _on(task: Task, device: str) -> Task:
    return replace(task, test=task.test.to(device))


def _rows(job: Job, run: Run, cell: OldCell) -> int:
    """The number of rows that went through the classifier at once when the cell was attacked; 0 if it is not stored."""
    name = job.preset.attack_name(job.preset.matrix[cell.attack].attack)
    table = run.evaluations
    rows = table[(table["task"] == cell.task) & (table["after_task"] == cell.task) & (table["attack"] == name)]
    return 0 if rows.empty else int(rows["batch_size"].max())


def _fact(task: int, name: str, same: bool, text: str) -> dict[str, Any]:
    return {"task": task, "phase": UNFORGETTING, "name": name, "value": float(same), "text": text or None}


def _stored(predictions: pd.DataFrame, task: int, attack: str) -> dict[int, tuple[int, float]]:
    """Predicted class and margin on a task right after it was learned, by sample id."""
    rows = predictions[
        (predictions["task"] == task) & (predictions["after_task"] == task) & (predictions["attack"] == attack)
    ]
    margins = rows["margin"].to_numpy(np.float32).tolist()
    return dict(zip(rows["sample"].tolist(), zip(rows["predicted"].tolist(), margins, strict=True), strict=True))


def reached(found: Sequence[str], error: str = "") -> dict[str, Any]:
    """The fact that code of the method reached for what is not in its state. error: what came of it, one line."""
    return {"task": -1, "phase": UNFORGETTING, "name": "reached", "value": 0.0, "text": _as_text(found, error)}


def unproved(reason: str) -> dict[str, Any]:
    """The fact that this machine offers no confinement, so that nothing can be proved here."""
    return {"task": -1, "phase": UNFORGETTING, "name": "unproved", "value": None, "text": reason}


def _as_text(found: Sequence[str], error: str) -> str:
    return json.dumps({"reached": list(found), "error": error})
