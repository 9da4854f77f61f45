"""Failures of a run: recorded with their tracebacks, shown as one line each."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.evaluating.classifier_contract import BrokenContract
from benchmark.planning.jobs import Job
from methods.base import MethodError
from methods.training import Diverged
from results.store import RunStore


@dataclass(frozen=True, slots=True)
class JobResult:
    """The end of a job.

    job: hash of its run.
    failures: one line each; empty if everything that is demanded is stored.
    learned: True if all tasks were learned.
    """

    job: str
    failures: tuple[str, ...] = ()
    learned: bool = True


def record_failure(store: RunStore, stage: str, error: BaseException, **where: Any) -> str:
    """Append a failure with its traceback to failures.jsonl; return it as one line for people.

    stage: what was being done.
    where: columns of the failure, such as `task`, `after_task` and `attack`.
    """
    expected = isinstance(error, MethodError | Diverged | BrokenContract)
    message = " ".join((str(error) if expected else f"{type(error).__name__}: {error}").split())
    text = "".join(traceback.format_exception(error))
    # The verdict on a broken contract is that of the check with this name.
    if isinstance(error, BrokenContract):
        where["check"] = error.check
    store.fail(stage=stage, **where, kind=type(error).__name__, message=message, traceback=text)
    return message


def failure_lines(job: Job, failures: Sequence[tuple[str, str]]) -> list[str]:
    """One line per cause, however many cells it cost. failures: (stage, message) each."""
    stages: dict[str, list[str]] = {}
    for stage, message in failures:
        stages.setdefault(message, []).append(stage)
    return [
        f"{job}: {found[0]}{f' and {len(found) - 1} more' if len(found) > 1 else ''}: {message}"
        for message, found in stages.items()
    ]
