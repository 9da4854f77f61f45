"""Findings of `verify`: one for each part of a run, with the problems in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from reports.numbers.wording import first_of


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of verifying one part of a run: a line on the screen, and a line for each problem.

    part: the part's name, such as `identity` or `images`.
    verified: what was looked at and how much of it, such as `12 parts`; empty if nothing was.
    problems: what does not hold, one line each; empty if everything holds.
    left_out: what could not be verified, and why; empty if nothing was left out.
    """

    part: str
    verified: str
    problems: tuple[str, ...] = ()
    left_out: str = ""


class Problems:
    """Collects problems while a part of a run is looked at. Cases of the same problem become one line."""

    def __init__(self) -> None:
        self._cases: dict[str, list[str]] = {}

    def __bool__(self) -> bool:
        """True if there is a problem."""
        return bool(self._cases)

    def add(self, what: str, cases: Iterable[str] = ("",)) -> None:
        """Add cases of a problem. No cases: nothing is added. Without `cases`: the problem needs none to be understood."""
        found = list(cases)
        if found:
            self._cases.setdefault(what, []).extend(found)

    def update(self, others: Problems) -> None:
        """Add all cases of other problems."""
        for what, cases in others._cases.items():
            self.add(what, cases)

    def lines(self) -> tuple[str, ...]:
        """One line for each problem: its first cases by name, and how many more there are."""
        return tuple(f"{what}: {first_of(cases)}" if any(cases) else what for what, cases in self._cases.items())
