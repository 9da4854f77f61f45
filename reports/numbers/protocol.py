"""The protocol of a run: the demands of a preset on it, as `config.json` stores them under `protocols[preset]`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from reports.numbers.metrics import CLEAN
from reports.numbers.wording import fraction


@dataclass(frozen=True)
class Protocol:
    """The demands of a preset on a run, read field by field. A field that an older record lacks has a value that says so.

    stored: the JSON object, as `benchmark.planning.protocols.RunProtocol` wrote it.
    """

    stored: Mapping[str, Any]

    @property
    def eps(self) -> Fraction | None:
        """The eps of the ranking; None if the record does not say, or says no number that can be measured at."""
        return fraction(self.eps_text)

    @property
    def eps_text(self) -> str:
        """The eps of the ranking as it is stored; empty if the record does not say."""
        stored = self.stored.get("ranking_eps", self.stored.get("eps"))
        return "" if stored is None else str(stored)

    @property
    def matrix(self) -> list[str]:
        """The attacks on all learned tasks after every task."""
        return list(self.stored.get("matrix", []))

    @property
    def final(self) -> list[str]:
        """The attacks after the last task."""
        return list(self.stored.get("final", []))

    @property
    def transfers(self) -> list[str]:
        """Attacks that were made on other classifiers. Those runs may be missing, so a row is complete without them."""
        return list(self.stored.get("transfers", []))

    @property
    def attacks(self) -> list[str]:
        """All attacks that numbers are made of."""
        return list(dict.fromkeys([*self.matrix, *self.final, *self.transfers]))

    @property
    def checks(self) -> list[str]:
        """Extra attacks, for the checks; of numbers, only `worst` counts what some of them broke. Older records lack them."""
        return list(self.stored.get("checks", []))

    @property
    def versions(self) -> dict[str, int]:
        """The version of each attack that was demanded, by its name; empty in older records, whose attacks count as they are."""
        return {str(name): int(version) for name, version in self.stored.get("versions", {}).items()}

    @property
    def tasks(self) -> int:
        """The number of tasks; 0 if the record does not say."""
        return int(self.stored.get("tasks", 0))

    def samples(self, attack: str, *, final: bool) -> int | None:
        """The number of samples of each task that an attack must cover, after the last task or after any; None: all."""
        demanded = self.stored.get("samples" if final else "matrix_samples", {}).get(attack)
        return None if demanded is None else int(demanded)

    @property
    def all_at_once(self) -> bool | None:
        """True if the method learns all tasks at once; None if the record does not say."""
        return self.stored.get("all_at_once")

    @property
    def claims(self) -> list[str] | None:
        """The claims of the method, such as `unforgetting`; None if the record does not say."""
        claims = self.stored.get("claims")
        return None if claims is None else [str(claim) for claim in claims]

    @property
    def extra_data(self) -> bool:
        """True if the method learned from other data than the stream's."""
        return "extra_data" in self.needs

    @property
    def needs(self) -> list[str]:
        """The method's needs beyond a task's training images; empty if the record does not say."""
        return [str(need) for need in self.stored.get("needs", [])]

    @property
    def own_recipe(self) -> dict[str, object]:
        """The fields of the row's recipe, by dotted name, that differ from the preset's."""
        return dict(self.stored.get("own_recipe", {}))

    @property
    def source(self) -> str:
        """The source of the row's settings and recipe; empty for the method's defaults and the preset's recipe."""
        return str(self.stored.get("source", ""))

    @property
    def demanded_at(self) -> str:
        """The time of the demand as ISO text, which sorts by time; empty if the record does not say."""
        return str(self.stored.get("demanded_at", ""))

    @property
    def is_row(self) -> bool:
        """False if the run was demanded only as a prerequisite of another one."""
        return bool(self.stored.get("row_of_preset", True))

    @property
    def robust_matrix(self) -> str | None:
        """The attack under which robust forgetting is taken: the first of the matrix that is not `clean`."""
        return next((attack for attack in self.matrix if attack != CLEAN), None)
