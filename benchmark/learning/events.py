"""What a running job says of itself, and who listens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened in a job.

    kind: "start", "epoch", "task", "evaluation", "note", "done" or "failed". share: of the job's work that is done, 0..1,
    by passes through the network. Accuracies in 0..1.
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
    share: float = 0.0
    text: str = ""


Listener = Callable[[Event], None]
