"""Failures of a run: recorded with their tracebacks, shown as one line each."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

import torch

from benchmark.evaluating.classifier_contract import BrokenContract
from benchmark.learning.confined.process import NotMade
from benchmark.planning.jobs import Job
from benchmark.running.gpu import DeviceLost, first_line, is_of_device
from methods.base import MethodError
from methods.training import Diverged, StepTooLarge
from results.store import RunStore


@dataclass(frozen=True, slots=True)
class JobResult:
    """The end of a job.

    job: hash of its run.
    failures: one line each; empty if everything that is demanded is stored.
    learned: True if all tasks were learned.
    lost: True if the process that did it can use its GPU no more.
    again: True if the place failed and not the run: a process was killed or a GPU lost, so another try may succeed.
    held: a line on the process that works on the run, and because of which nothing was done; empty if none does.
    left: True if time ran out before everything was done; what was done is stored.
    """

    job: str
    failures: tuple[str, ...] = ()
    learned: bool = True
    lost: bool = False
    again: bool = False
    held: str = ""
    left: bool = False


class LearningFailed(Exception):
    """A method failed in the process in which it learned.

    kind: the name of the error's class.
    message: one line.
    traceback: of that process.
    check: the check whose verdict says so; None if there is none.
    """

    def __init__(self, kind: str, message: str, traceback: str = "", check: str | None = None) -> None:
        # All arguments are the exception's own, so that it can be sent to another process.
        super().__init__(kind, message, traceback, check)
        self.kind, self.message, self.traceback, self.check = kind, message, traceback, check

    def __str__(self) -> str:
        return self.message

    @classmethod
    def of(cls, error: BaseException, traceback: str) -> LearningFailed:
        """The failure that an error stands for."""
        check = error.check if isinstance(error, BrokenContract) else None
        return cls(type(error).__name__, message_of(error), traceback, check)


GOES_ON = "; the same command goes on"
"""The end of a line on a failure of the place."""

OF_GPU = (torch.AcceleratorError.__name__, torch.OutOfMemoryError.__name__)
"""The kinds of errors of a GPU that a confined process tells of."""

KILLED = "killed"
"""The kind of a failure for which a process was killed."""


def is_of_place(error: BaseException) -> bool:
    """True if the place failed and not the run: a process was killed, or a GPU lost or without memory for a confined process."""
    killed = isinstance(error, LearningFailed) and error.kind == KILLED
    of_gpu = isinstance(error, NotMade) and error.kind in OF_GPU
    return killed or of_gpu or isinstance(error, BrokenProcessPool | DeviceLost)


def message_of(error: BaseException) -> str:
    """An error in one line; an unexpected one with its type."""
    expected = isinstance(error, MethodError | Diverged | StepTooLarge | BrokenContract | LearningFailed | DeviceLost)
    text = first_line(error) if is_of_device(error) else str(error)
    return " ".join((text if expected else f"{type(error).__name__}: {text}").split())


def record_failure(store: RunStore, stage: str, error: BaseException, **where: Any) -> str:
    """Append a failure with its traceback to failures.jsonl; return it as one line for people.

    stage: what was being done.
    where: columns of the failure, such as `task`, `after_task` and `attack`.
    """
    failed = error
    if not isinstance(failed, LearningFailed):
        failed = LearningFailed.of(error, "".join(traceback.format_exception(error)))
    # The verdict on a broken contract is that of the check with this name.
    where |= {} if failed.check is None else {"check": failed.check}
    store.fail(stage=stage, **where, kind=failed.kind, message=failed.message, traceback=failed.traceback)
    return failed.message


def failure_lines(job: Job, failures: Sequence[tuple[str, str]]) -> list[str]:
    """One line per cause, however many cells it cost. failures: (stage, message) each."""
    stages: dict[str, list[str]] = {}
    for stage, message in failures:
        stages.setdefault(message, []).append(stage)
    return [
        f"{job}: {found[0]}{f' and {len(found) - 1} more' if len(found) > 1 else ''}: {message}"
        for message, found in stages.items()
    ]
