"""The proof that a method forgets nothing, as it claims: in a fresh process, from its last state alone.

When a task is learned, its classifier (every tensor, buffers included) and its logits on a few images are fingerprinted. After
the last task another process loads the last state, makes every classifier again and must find the same bits. It attacks some
old cells again and must find the same predictions. Copies of classifiers that the learning process kept are not there.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from benchmark.evaluating.attacking import attack_task
from benchmark.evaluating.determinism import repeatable
from benchmark.evaluating.fingerprints import classifier_fingerprint
from benchmark.learning.provenance import arithmetic
from benchmark.learning.restoring import restored_method
from benchmark.planning.cells import cells_of, shared_work
from benchmark.planning.jobs import Job
from benchmark.planning.machine import Machine
from benchmark.processes import in_fresh_process
from results.checkpoints import tensor_hash
from results.records import Run
from results.schema import HARNESS, UNFORGETTING
from scenarios.base import Task
from scenarios.parts.augmentation import to_float

PROBE_IMAGES = 32
"""Validation images on which logits are fingerprinted."""

CELLS_AGAIN = 2
"""Old cells that are attacked again, at most."""


def fingerprints(classifier: nn.Module, task: Task) -> dict[str, str]:
    """SHA-256 of a classifier (`classifier_fingerprint`) and of its logits on the task's first validation images."""
    images = to_float(task.validation.images[:PROBE_IMAGES])
    with torch.no_grad():
        logits = classifier(images)
    return {"classifier": classifier_fingerprint(classifier), "logits": tensor_hash(logits)}


@dataclass(frozen=True, slots=True)
class Again:
    """The findings of a fresh process.

    found: `fingerprints`, by task.
    attacked: per cell the predicted class and the margin, by sample id.
    """

    found: dict[int, dict[str, str]]
    attacked: list[dict[int, tuple[int, float]]]


@dataclass(frozen=True, slots=True)
class OldCell:
    """An attack on a task right after that task was learned.

    task: id of the task.
    attack: its place in `preset.matrix`.
    rows: images that went through the classifier at once; 0: the preset's batch size.
    """

    task: int
    attack: int
    rows: int = 0


def old_cells(job: Job, tasks: int) -> list[OldCell]:
    """A few cells of tasks before the last, drawn by the run's hash: attacks if the matrix has any, otherwise clean passes."""
    attacks = [k for k, demand in enumerate(job.preset.matrix) if demand.attack.iterative] or [0]
    every = [OldCell(task, attack) for task in range(tasks - 1) for attack in attacks]
    return random.Random(job.hash).sample(every, min(CELLS_AGAIN, len(every)))


def make_again(job: Job, machine: Machine, key: str, cells: Sequence[OldCell]) -> Again:
    """Make classifiers from the checkpoint `key` alone, and attack each cell again. Runs in a fresh process."""
    torch.set_num_threads(machine.threads)
    tasks = job.preset.scenario(machine.source).load(machine.device)
    method = restored_method(job, machine, key)
    with repeatable():
        found = {task.id: fingerprints(method.classifier(task.id).to(machine.device), task) for task in tasks}
        attacked = []
        for cell in cells:
            task, attack = tasks[cell.task], job.preset.matrix[cell.attack].attack
            classifier = method.classifier(task.id).to(machine.device)
            outcomes: dict[int, tuple[int, float]] = {}
            for work in shared_work(cells_of(job.preset.matrix, task, task.id)):
                if attack not in work.run.members:
                    continue
                # Together with the same attacks, on the same samples, in batches as large: otherwise rounding differs.
                found_again = attack_task(
                    classifier, task, work.samples, work.run, job.preset.evaluation, batch_size=cell.rows or None
                )
                outcome = found_again.outcomes[attack].final
                values = zip(outcome.predicted.tolist(), outcome.margin.tolist(), strict=True)
                outcomes |= dict(zip(found_again.samples.tolist(), values, strict=True))
            attacked.append(outcomes)
    return Again(found, attacked)


def prove(job: Job, machine: Machine, key: str, run: Run, tasks: int) -> list[dict[str, Any]]:
    """Prove or refute that nothing was forgotten.

    key: the checkpoint after the last task.
    run: the stored records.
    tasks: number of tasks.
    Returns facts: per task whether its classifier, its logits and, for some, its predictions are the same as when it was learned.
    A task whose fingerprints were not recorded has no fact. Logits and predictions are compared only on the library version and
    processor that computed them, because others round differently.
    """
    cells = [replace(cell, rows=_rows(job, run, cell)) for cell in old_cells(job, tasks)]
    again = in_fresh_process(make_again, job, machine, key, cells)
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
        # A cell whose attack failed is not stored; that says nothing about forgetting.
        if stored and comparable(cell.task):
            rows.append(_fact(cell.task, "same_predictions", stored == outcomes, f"{name}, after task {cell.task}"))
    return rows


def _rows(job: Job, run: Run, cell: OldCell) -> int:
    """The number of images that went through the classifier at once when the cell was attacked; 0 if it is not stored."""
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
