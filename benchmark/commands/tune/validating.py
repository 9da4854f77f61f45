"""The validation images that the classifiers of a learned run get right after its last task. They are stored with the run."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.evaluating.determinism import repeatable
from benchmark.evaluating.validation import validate
from benchmark.learning.restoring import Classifiers
from benchmark.planning.jobs import Job
from benchmark.planning.machine import Machine
from methods.training import Validation
from results.schema import VALIDATED
from results.store import RunStore
from scenarios.base import Task


def validated(job: Job, machine: Machine, tasks: Sequence[Task]) -> list[Validation]:
    """The outcomes of each task's classifier after the last task: those that are stored, or else new ones, which are stored.

    Raises MethodError if the run holds no checkpoint, StoreError if one is unreadable.
    """
    store = RunStore(machine.runs, job.hash)
    if not store.has_part("facts", VALIDATED):
        classifiers, rows = Classifiers(machine), []
        with repeatable():
            for task in tasks:
                found = validate(classifiers.of(job, None, task.id), task.to_learn(), job.recipe, job.preset.eps)
                texts = found.to_json()
                for kind, accuracy in (("clean", found.clean), ("robust", found.robust)):
                    rows.append(
                        {"task": task.id, "phase": VALIDATED, "name": kind, "value": accuracy, "text": texts[kind]}
                    )
        store.write_part("facts", VALIDATED, rows)
    facts = store.read().facts
    mine = facts[facts["phase"] == VALIDATED].to_dict("records")
    by_task = {task.id: {row["name"]: row["text"] for row in mine if row["task"] == task.id} for task in tasks}
    return [Validation.from_json(texts) for texts in by_task.values()]
