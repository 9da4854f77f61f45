"""The validation images that the classifiers of a learned run get right after its last task. They are stored with the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmark.evaluating.determinism import repeatable
from benchmark.evaluating.validation import VERSION, validate
from benchmark.learning.restoring import Classifiers
from benchmark.planning.jobs import Job
from benchmark.planning.machine import Machine
from methods.training import Validation
from methods.training.recipe import Recipe
from results.files import canonical_json
from results.schema import VALIDATED
from results.store import RunStore
from scenarios.base import Task

ATTACK = "attack"
"""The fact that says under which attack the images of a run were validated."""


def validated(job: Job, machine: Machine, tasks: Sequence[Task], judge: Recipe) -> list[Validation]:
    """The outcomes of each task's classifier after the last task: those that are stored, or else new ones, which are stored.

    judge: the recipe whose validation attack is run, the same for all rows and points, however these select their epochs.
    Raises MethodError if the run holds no checkpoint, StoreError if one is unreadable, and whatever a classifier raises.
    """
    store = RunStore(machine.runs, job.hash)
    selection = judge.selection
    attack = canonical_json(
        {
            "version": VERSION,
            "eps": str(job.preset.eps),
            "steps": selection.steps,
            "step_size": selection.step_size,
            "precision": selection.precision,
        }
    )
    stored = _stored(store)
    if stored.get((-1, ATTACK)) != attack:
        rows = [_fact(-1, ATTACK, None, attack)]
        classifiers = Classifiers(machine)
        with repeatable():
            for task in tasks:
                found = validate(classifiers.of(job, None, task.id), task.to_learn(), judge, job.preset.eps)
                texts = found.to_json()
                rows.append(_fact(task.id, "clean", found.clean, texts["clean"]))
                rows.append(_fact(task.id, "robust", found.robust, texts["robust"]))
        store.write_part("facts", VALIDATED, rows)
        stored = _stored(store)
    return [Validation.from_json({kind: stored[task.id, kind] for kind in ("clean", "robust")}) for task in tasks]


def _stored(store: RunStore) -> Mapping[tuple[int, str], str]:
    """The texts of the stored facts, by task and name."""
    facts = store.read().facts
    mine = facts[facts["phase"] == VALIDATED]
    return {(int(row["task"]), row["name"]): row["text"] for row in mine.to_dict("records")}


def _fact(task: int, name: str, value: float | None, text: str) -> dict[str, Any]:
    return {"task": task, "phase": VALIDATED, "name": name, "value": value, "text": text}
