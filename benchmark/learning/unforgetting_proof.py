"""Proof that a method which claims not to forget does not: in a fresh process, from nothing but its last state.

When a task is learned its classifier is fingerprinted (every tensor, buffers included) together with its logits on a probe batch.
After the last task another process loads only that state, makes every classifier again and must find the same bits; some old
cells are attacked again and must give the same predictions. A copy that the learning process kept of a classifier is not there.
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

from benchmark.evaluating.determinism import repeatable
from benchmark.evaluating.evaluation import measure, subset
from benchmark.evaluating.fingerprints import attack_name, classifier_fingerprint
from benchmark.learning.provenance import arithmetic
from benchmark.learning.restoring import restored_method
from benchmark.planning.cells import cells_of, shared_work
from benchmark.planning.jobs import Job
from benchmark.planning.machine import Machine
from benchmark.processes import in_fresh_process
from results.checkpoints import tensor_hash
from results.records import Run
from scenarios.base import Task
from scenarios.parts.augmentation import to_float

PHASE = "unforgetting"
"""The phase of the facts recorded here, and the name of their part."""

PROBE_IMAGES = 32
CELLS_AGAIN = 2
CLAIM = "unforgetting"


def fingerprints(classifier: nn.Module, task: Task) -> dict[str, str]:
    """SHA-256 of the classifier (`classifier_fingerprint`) and of its logits on the task's first validation images."""
    images = to_float(task.validation.images[:PROBE_IMAGES])
    with torch.no_grad():
        logits = classifier(images)
    return {"classifier": classifier_fingerprint(classifier), "logits": tensor_hash(logits)}


@dataclass(frozen=True, slots=True)
class Again:
    """What a fresh process found. found: by task the `fingerprints`; attacked: per cell the outcomes by sample id."""

    found: dict[int, dict[str, str]]
    attacked: list[dict[int, tuple[int, float]]]


@dataclass(frozen=True, slots=True)
class OldCell:
    """An attack of the matrix (its place in `preset.matrix`) on a task right after that task was learned.

    rows: how many went through the classifier at once; 0: as many as the preset says.
    """

    task: int
    attack: int
    rows: int = 0


def old_cells(job: Job, tasks: int) -> list[OldCell]:
    """A few cells of tasks before the last, drawn by the run's identity: attacks where there are some, else clean passes."""
    attacks = [k for k, demand in enumerate(job.preset.matrix) if demand.attack.iterative] or [0]
    every = [OldCell(task, attack) for task in range(tasks - 1) for attack in attacks]
    return random.Random(job.hash).sample(every, min(CELLS_AGAIN, len(every)))


def make_again(job: Job, machine: Machine, key: str, cells: Sequence[OldCell]) -> Again:
    """Run in a fresh process: classifiers from the checkpoint `key` alone, and the attack of each cell on its task."""
    torch.set_num_threads(machine.threads)
    tasks = job.preset.scenario(machine.source).load(machine.device)
    method, evaluation = restored_method(job, machine, key), job.preset.file.evaluation
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
                # With all that it was run with, on the same samples and in batches as large: others round otherwise.
                measured = measure(
                    classifier,
                    subset(task.test, work.samples),
                    work.run,
                    seed=evaluation.seed,
                    key=task.test_fingerprint,
                    batch_size=cell.rows or evaluation.batch_size,
                )
                outcome = measured.attacks[attack].final
                values = zip(outcome.predicted.tolist(), outcome.margin.tolist(), strict=True)
                outcomes |= dict(zip(measured.samples.tolist(), values, strict=True))
            attacked.append(outcomes)
    return Again(found, attacked)


def prove(job: Job, machine: Machine, key: str, run: Run, tasks: int) -> list[dict[str, Any]]:
    """Facts, per task: whether classifier, logits and (for some) predictions are what they were when it was learned.

    run: the stored records. A task whose fingerprints were not recorded when it was learned proves nothing and has no fact.
    What is computed (logits, predictions) is compared only on the library and processor that computed it: others round otherwise.
    """
    cells = [replace(cell, rows=_rows(job, run, cell)) for cell in old_cells(job, tasks)]
    again = in_fresh_process(make_again, job, machine, key, cells)
    facts = run.facts[run.facts["phase"] == "harness"]
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
        name = attack_name(job.preset.matrix[cell.attack].attack, job.preset.file.evaluation.seed)
        stored = _stored(run.predictions, cell.task, name)
        # A cell whose attack failed is missing for that reason, not because anything was forgotten.
        if stored and comparable(cell.task):
            rows.append(_fact(cell.task, "same_predictions", stored == outcomes, f"{name}, after task {cell.task}"))
    return rows


def _rows(job: Job, run: Run, cell: OldCell) -> int:
    """How many rows went through the classifier at once when the cell was measured; 0 where it was not."""
    name = attack_name(job.preset.matrix[cell.attack].attack, job.preset.file.evaluation.seed)
    table = run.evaluations
    rows = table[(table["task"] == cell.task) & (table["after_task"] == cell.task) & (table["attack"] == name)]
    return 0 if rows.empty else int(rows["batch_size"].max())


def _fact(task: int, name: str, same: bool, text: str) -> dict[str, Any]:
    return {"task": task, "phase": PHASE, "name": name, "value": float(same), "text": text or None}


def _stored(predictions: pd.DataFrame, task: int, attack: str) -> dict[int, tuple[int, float]]:
    """What was measured on a task right after it was learned: sample → predicted class and margin."""
    rows = predictions[
        (predictions["task"] == task) & (predictions["after_task"] == task) & (predictions["attack"] == attack)
    ]
    margins = rows["margin"].to_numpy(np.float32).tolist()
    return dict(zip(rows["sample"].tolist(), zip(rows["predicted"].tolist(), margins, strict=True), strict=True))
