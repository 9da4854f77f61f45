"""Failures of a run: recorded with their tracebacks, told in one line each."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.evaluating.evaluation import BrokenContract
from benchmark.planning.jobs import Job
from methods.base import MethodError
from methods.training import Diverged
from results.store import RunStore


@dataclass(frozen=True, slots=True)
class JobResult:
    """How a job ended. failures: one line each, empty if everything demanded is stored; learned: whether all tasks were."""

    job: str
    failures: tuple[str, ...] = ()
    learned: bool = True


def record_failure(store: RunStore, stage: str, error: BaseException, **where: Any) -> str:
    """Append a failure to failures.jsonl, with its traceback; return it as one line for people."""
    expected = isinstance(error, MethodError | Diverged | BrokenContract)
    message = " ".join((str(error) if expected else f"{type(error).__name__}: {error}").split())
    text = "".join(traceback.format_exception(error))
    # Which check stands for a broken contract, so that the verdict carries that name.
    if isinstance(error, BrokenContract):
        where["check"] = error.check
    store.fail(stage=stage, **where, kind=type(error).__name__, message=message, traceback=text)
    return message


def failure_lines(job: Job, failures: Sequence[tuple[str, str]]) -> list[str]:
    """One line for each cause, however many cells it cost. failures: (stage, message)."""
    stages: dict[str, list[str]] = {}
    for stage, message in failures:
        stages.setdefault(message, []).append(stage)
    return [
        f"{job}: {found[0]}{f' and {len(found) - 1} more' if len(found) > 1 else ''}: {message}"
        for message, found in stages.items()
    ]
