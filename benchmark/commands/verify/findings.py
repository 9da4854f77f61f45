"""What came of a group of checks, in words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

MOST_NAMED = 3
"""Cases of one problem that are named; the others are counted."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One group of checks.

    what: the group; checked: what was looked at and how much of it, empty if nothing was; problems: one line each, empty if
    everything holds; left_out: what could not be checked and why, empty if nothing was left out.
    """

    what: str
    checked: str
    problems: tuple[str, ...] = ()
    left_out: str = ""


class Problems:
    """Problems while they are being found: cases of the same kind become one line."""

    def __init__(self) -> None:
        self._cases: dict[str, list[str]] = {}

    def add(self, what: str, cases: Iterable[str] = ("",)) -> None:
        """Note cases of a problem; without an argument it is one that needs no case."""
        named = list(cases)
        if named:
            self._cases.setdefault(what, []).extend(named)

    def lines(self) -> tuple[str, ...]:
        return tuple(_line(what, cases) for what, cases in self._cases.items())


def _line(what: str, cases: list[str]) -> str:
    named = ", ".join(case for case in cases[:MOST_NAMED] if case)
    more = f" and {len(cases) - MOST_NAMED} more" if len(cases) > MOST_NAMED else ""
    return f"{what}: {named}{more}" if named else what
