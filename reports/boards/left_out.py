"""Faults of single records: one that cannot be used is left out and told by name, and costs no other its place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from reports.numbers.labels import visible
from results import Problem, Run

T = TypeVar("T")
R = TypeVar("R")

MOST_WORDS = 300
"""Characters of an error that a problem quotes, at most."""


class UnusableError(Exception):
    """A record says something that no number can be made of; the message is one line."""


def of_sound_ones(
    items: Sequence[T], make: Callable[[Sequence[T]], R], tell: Callable[[T, Exception], None]
) -> R | None:
    """The result of `make` on all items; if that raises, on those on which it does not.

    tell: told of every item that is left out, and why.
    An item is left out if `make` raises on it alone, or else on it beside the ones before it. None if no item is left.
    """
    try:
        return make(items)
    except Exception as error:
        if len(items) == 1:
            tell(items[0], error)
            return None
    alone = []
    for item in items:
        try:
            make([item])
        except Exception as error:
            tell(item, error)
        else:
            alone.append(item)
    try:
        return make(alone) if alone else None
    except Exception:
        return _grown(alone, make, tell)


def _grown(items: Sequence[T], make: Callable[[Sequence[T]], R], tell: Callable[[T, Exception], None]) -> R | None:
    """The result of `make` on items that were added one by one, each only if `make` still works."""
    kept: list[T] = []
    result = None
    for item in items:
        try:
            result = make([*kept, item])
        except Exception as error:
            tell(item, error)
        else:
            kept.append(item)
    return result


def leave_out(run: Run, preset: str, error: Exception) -> None:
    """Note among the run's problems that its row is not on the board of a preset."""
    words = str(error) if isinstance(error, UnusableError) else f"{type(error).__name__}: {error}"
    reason = visible(" ".join(words.split()))[:MOST_WORDS]
    problem = Problem(run.directory, f"left out of {visible(preset)[:MOST_WORDS]}: {reason}")
    if problem not in run.problems:
        run.problems.append(problem)
