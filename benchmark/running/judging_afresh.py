"""The end of a run: one confined process judges what attacks handed over, and proves that nothing was forgotten."""

from __future__ import annotations

from typing import Any

from attacks.parts.clock import purpose
from benchmark.learning import afresh
from benchmark.learning import unforgetting_proof as unforgetting
from benchmark.learning.confined import process as confined
from benchmark.learning.confined.process import NotMade
from benchmark.learning.confined.sandbox import CannotConfine
from benchmark.learning.confined.stored import FromCheckpoint
from benchmark.learning.handed_over import Shelf
from benchmark.planning.jobs import Job
from benchmark.planning.machine import Machine
from results.schema import AFRESH, UNFORGETTING
from results.store import RunStore
from scenarios.base import Task


def judge_afresh(job: Job, machine: Machine, key: str, store: RunStore, shelf: Shelf, tasks: list[Task]) -> None:
    """Record the facts of phases `AFRESH` and `UNFORGETTING` that a learned and attacked run lacks, in one process for both.

    key: name of the checkpoint after the last task.
    A method that reached for what is not in its state fails the checks by that fact, whatever came of it. Raises NotMade if its
    classifiers could not be made, or did not answer, for any other reason; StoreError.
    """
    proves = job.claims_unforgetting and not store.has_part("facts", UNFORGETTING)
    judges = not job.learn_only and (bool(shelf) or not store.has_part("facts", AFRESH))
    if not proves and not judges:
        return
    run = store.read()
    last = run.evaluations[run.evaluations["after_task"] == len(tasks) - 1]
    classifiers = {int(task): str(text) for task, text in zip(last["task"], last["classifier"], strict=True)}
    handed_over = shelf.taken(last["evaluation_id"].unique())
    judged: list[dict[str, Any]] = []
    proved: list[dict[str, Any]] = []
    error = ""
    process = None
    try:
        with purpose("start"), confined.ConfinedProcess(FromCheckpoint.of(job, machine, key, run)) as process:
            if judges:
                with purpose(AFRESH):
                    judged = afresh.judge(process, handed_over, classifiers, job.hash)
                judged.insert(0, afresh.confined_by(process.means))
            # Last, because attacks on old cells show the process clean images.
            if proves:
                with purpose(UNFORGETTING):
                    proved = unforgetting.prove(process, job, machine, run, tasks)
            reached = process.reached
    except CannotConfine as reason:
        judged, proved, reached = [afresh.not_judged(str(reason))], [unforgetting.unproved(str(reason))], ()
    except NotMade as refused:
        if not refused.reached:
            raise
        reached, error = refused.reached, str(refused)
    if reached:
        judged.append(afresh.reached(reached, error))
        proved.append(unforgetting.reached(reached, error))
    if judges:
        before: Any = run.facts[run.facts["phase"] == AFRESH].to_dict("records")
        store.write_part("facts", AFRESH, afresh.joined(before, judged))
        shelf.clear()
    if proves:
        store.write_part("facts", UNFORGETTING, proved)
