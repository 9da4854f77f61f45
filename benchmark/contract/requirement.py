"""A requirement: one thing that a plug-in owes. It holds, or is broken, and then the result says what to change."""

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
    """A plug-in breaks a requirement. wrong: what was seen; change: what would be right."""

    def __init__(self, wrong: str, change: str) -> None:
        super().__init__(f"{wrong}: {change}")
        self.wrong, self.change = wrong, change


class OnTrial(Protocol):
    """A plug-in on trial."""

    @property
    def path(self) -> Path:
        """The plug-in's file."""


S = TypeVar("S", bound=OnTrial)


@dataclass(frozen=True, slots=True)
class Requirement(Generic[S]):
    """One thing that a plug-in owes.

    holds: the requirement in words.
    test: returns if it holds; raises Broken if not, or whatever the plug-in raises.
    gate: True if none of the later requirements can be tested without it.
    last: True if it is tested only where all others hold.
    applies: returns True if it concerns this plug-in; called after all earlier gates hold.
    odd: lines on what is odd although the requirement holds; called only if it does.
    """

    holds: str
    test: Callable[[S], None]
    gate: bool = False
    last: bool = False
    applies: Callable[[S], bool] = lambda subject: True
    odd: Callable[[S], Sequence[str]] = lambda subject: ()

    def __str__(self) -> str:
        return self.holds


@dataclass(frozen=True, slots=True)
class RequirementResult:
    """The result of testing one requirement.

    holds: the requirement in words.
    problem: one line that says what is wrong and what to change; None if it holds.
    skipped: True if it could not be tested.
    odd: lines on what is odd although it holds.
    """

    holds: str
    problem: str | None = None
    skipped: bool = False
    odd: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.skipped:
            return f"skip {self.holds}"
        return f"ok   {self.holds}" if self.problem is None else f"FAIL {self.problem}"


def results_of(requirements: Sequence[Requirement[S]], subject: S) -> Iterator[RequirementResult]:
    """Test requirements one after another, each when its result is asked for; after a broken gate all others are skipped."""
    stopped = broken = False
    for requirement in requirements:
        if stopped or (broken and requirement.last and requirement.applies(subject)):
            yield RequirementResult(requirement.holds, skipped=True)
        elif requirement.applies(subject):
            problem = problem_of(requirement, subject)
            stopped = requirement.gate and problem is not None
            broken |= problem is not None
            odd = () if problem is not None else tuple(requirement.odd(subject))
            yield RequirementResult(requirement.holds, problem, odd=odd)


def problem_of(requirement: Requirement[S], subject: S) -> str | None:
    """Test a requirement. Returns one line that says what is wrong and what to change, None if it holds.

    Any exception of the plug-in counts as broken.
    """
    try:
        requirement.test(subject)
    except Broken as broken:
        return _one_line(str(broken))
    except (Exception, SystemExit) as error:
        return _one_line(f"{raised(error)}: {place_of(error, subject.path)}")
    return None


def raised(error: BaseException) -> str:
    """The text `raises TypeError: its message`, followed by what was being done."""
    what = str(error) if isinstance(error, EXPECTED) else f"{type(error).__name__}: {error}"
    return ", ".join([f"raises {what}", *getattr(error, "__notes__", [])])


def place_of(error: BaseException, path: Path) -> str:
    """The text `see mine.py, line 12`: the last line of the plug-in's file that the error passed, or else where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame.lineno for frame in frames if Path(frame.filename).resolve() == path.resolve()]
    if own:
        return f"see {path.name}, line {own[-1]}"
    last = frames[-1]
    return f"raised in {Path(last.filename).name}, line {last.lineno}, on what {path.name} gave"


def _one_line(text: str) -> str:
    return " ".join(text.split())
