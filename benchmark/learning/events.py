"""Events: what happens in a job while it runs, as those who listen are told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened in a job.

    job: hash of its run.
    label, seed: of the run.
    kind: `start`, `epoch`, `task`, `evaluation`, `note`, `done`, `failed`, or `left` if time ran out before all was done. A job
        that is tried again starts again.
    task: id of the task.
    tasks: number of tasks of the stream.
    task_name: name of the task.
    phase: of training, such as `train` or `prune`.
    epoch: of the phase, from 1.
    epochs: of the phase, at most.
    loss: mean training loss of the epoch; None if there is none.
    validation: robust validation accuracy in 0..1; None if it was not computed in this epoch.
    text: of a note or failure, or the name of an attack.
    """

    job: str
    label: str
    seed: int
    kind: str
    task: int = 0
    tasks: int = 0
    task_name: str = ""
    phase: str = ""
    epoch: int = 0
    epochs: int = 0
    loss: float | None = None
    validation: float | None = None
    text: str = ""


Listener = Callable[[Event], None]
