"""A check: one thing that a plug-in owes, found to hold or broken with what to change. What all contracts are made of."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from attacks.base import AttackError
from benchmark.errors import ConfigError
from methods.base import MethodError
from methods.training import Diverged
from scenarios.base import DataError

EXPECTED = (AttackError, ConfigError, DataError, Diverged, MethodError)
"""Errors whose message says everything; of all others the type is shown too."""


class Broken(Exception):
    """A plug-in does not keep its contract. wrong: what was seen; change: what would be right."""

    def __init__(self, wrong: str, change: str) -> None:
        super().__init__(f"{wrong}: {change}")


class OnTrial(Protocol):
    """What checks look at."""

    @property
    def path(self) -> Path:
        """The plug-in's file."""


S = TypeVar("S", bound=OnTrial)


@dataclass(frozen=True, slots=True)
class Requirement(Generic[S]):
    """holds: in words, what is so if `find` returns; find: raises Broken otherwise, and whatever the plug-in raises.

    gate: without it nothing that follows can be checked; applies: whether it concerns this plug-in (asked after the gates).
    """

    holds: str
    find: Callable[[S], None]
    gate: bool = False
    applies: Callable[[S], bool] = lambda subject: True

    def __str__(self) -> str:
        return self.holds


@dataclass(frozen=True, slots=True)
class RequirementResult:
    """What a check found. problem: one line, None where it holds; skipped: it could not be checked."""

    holds: str
    problem: str | None = None
    skipped: bool = False

    def __str__(self) -> str:
        if self.skipped:
            return f"skip {self.holds}"
        return f"ok   {self.holds}" if self.problem is None else f"FAIL {self.problem}"


def findings(checks: Sequence[Requirement[S]], subject: S) -> Iterator[RequirementResult]:
    """What each check finds, one after another, as it is found; those after a broken gate are skipped."""
    stopped = False
    for check in checks:
        if stopped:
            yield RequirementResult(check.holds, skipped=True)
        elif check.applies(subject):
            problem = problem_of(check, subject)
            stopped = check.gate and problem is not None
            yield RequirementResult(check.holds, problem)


def problem_of(check: Requirement[S], subject: S) -> str | None:
    """One line that says what is wrong and what to change, or None. An exception of the plug-in is what is wrong."""
    try:
        check.find(subject)
    except Broken as broken:
        return _one_line(str(broken))
    except (Exception, SystemExit) as error:
        return _one_line(f"{raised(error)}: {place_of(error, subject.path)}")
    return None


def raised(error: BaseException) -> str:
    """`raises TypeError: what it says`, with what was being done."""
    what = str(error) if isinstance(error, EXPECTED) else f"{type(error).__name__}: {error}"
    return ", ".join([f"raises {what}", *getattr(error, "__notes__", [])])


def place_of(error: BaseException, path: Path) -> str:
    """`see mine.py, line 12`: the last line of the plug-in's file that the error passed, else where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame.lineno for frame in frames if Path(frame.filename).resolve() == path.resolve()]
    if own:
        return f"see {path.name}, line {own[-1]}"
    last = frames[-1]
    return f"raised in {Path(last.filename).name}, line {last.lineno}, on what {path.name} gave"


def _one_line(text: str) -> str:
    return " ".join(text.split())
