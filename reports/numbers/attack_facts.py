"""The attacks of a run, as their stored specifications describe them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import pandas as pd

from reports.numbers.metrics import CLEAN, WORST
from reports.numbers.wording import fraction, over_255
from results.schema import ANY, OLDER_VERSIONS

TRANSFER = "transfer"
SUBMITTED = "submitted"
"""The kind of images that somebody else made for one row. Other rows cannot have that attack."""
COMPOSITIONS = ("autoattack", "autoattack-c3", "autoattack-c2", "ensemble")
"""Kinds of attacks that consist of several parts, Square among them."""
FLOAT32 = "float32"
"""The kind of attacks that walk in float32 where others may walk in lower precision."""
COUNTED_EXTRAS = ("rescaled", "inside", "distilled", "square", FLOAT32)
"""Kinds of extra attacks that an attacker could have used: what they break at the ranking's norm and eps is broken in `worst`."""
_COLUMNS = ("attack", "version", "norm", "eps", "steps", "step_size", "restarts", "loss")
"""Fields of a specification that are fields of `AttackFacts`, or do not say how it attacks."""
_ORIGIN = "origin"
"""The field that names the run on which a transfer's images were made. It differs by seed where the attack is the same."""

Threat = tuple[str, Fraction | None]
"""(norm, eps)"""


@dataclass(frozen=True)
class AttackFacts:
    """The specification of an attack.

    eps, step_size: exact, in units of the pixel range [0, 1]; None where there is none.
    rest: (field, value as JSON) of every other field, by name, such as ("targets", "9"), ("source", '"single_task_at"').
    """

    name: str
    kind: str
    norm: str
    eps: Fraction | None
    steps: int
    step_size: Fraction | None
    restarts: int
    loss: str
    rest: tuple[tuple[str, str], ...] = ()

    @property
    def any(self) -> str:
        """The name of the attack's any-iterate outcome."""
        return self.name + ANY

    @property
    def threat(self) -> Threat:
        return self.norm, self.eps

    @property
    def step_in_eps(self) -> Fraction | None:
        """The step size as a multiple of eps; None without a step size, or at eps 0."""
        return self.step_size / self.eps if self.step_size is not None and self.eps else None

    def apart_from(self, *fields: str) -> tuple[Any, ...]:
        """The specification without these fields: two attacks of equal values differ in nothing else.

        fields: of norm, eps, steps, step_size, restarts, loss. If eps is left out, step sizes are multiples of eps.
        """
        step = self.step_in_eps if "eps" in fields else self.step_size
        own = {"norm": self.norm, "eps": self.eps, "steps": self.steps, "step_size": step}
        own |= {"restarts": self.restarts, "loss": self.loss}
        return self.kind, *((name, value) for name, value in own.items() if name not in fields), self.rest


def attack_facts(evaluations: pd.DataFrame) -> dict[str, AttackFacts]:
    """The attacks of an evaluations table, by name, as their newest version specifies them."""

    def whole(value: Any) -> int:
        return 0 if pd.isna(value) else int(value)

    def text(value: Any) -> str:
        return "" if pd.isna(value) else str(value)

    found = {}
    newest_last = evaluations.sort_values("attack_version", kind="stable", na_position="first")
    for row in newest_last.drop_duplicates("attack", keep="last").itertuples(index=False):
        name = str(row.attack)
        found[name] = AttackFacts(
            name, text(row.kind), text(row.norm), fraction(row.eps), whole(row.steps), fraction(row.step_size),
            whole(row.restarts), text(row.loss), _rest(row.specification, text(row.kind), whole(row.attack_version)),
        )  # fmt: skip
    return dict(sorted(found.items()))


def _rest(specification: Any, kind: str, version: int) -> tuple[tuple[str, str], ...]:
    """The fields of a stored specification that have no column; empty if it is missing or unreadable.

    An older version of an attack has the setting that makes it now.
    """
    try:
        fields = json.loads(specification) if isinstance(specification, str) else {}
    except ValueError:
        fields = {}
    if not isinstance(fields, dict):
        return ()
    fields = fields | OLDER_VERSIONS.get((kind, version), {})
    left = {name: value for name, value in fields.items() if name not in (*_COLUMNS, _ORIGIN)}
    return tuple(sorted((name, json.dumps(value, sort_keys=True)) for name, value in left.items()))


def worst_at(norm: str, eps: Fraction | None) -> str:
    """The name of `worst` at another norm and eps than the ranking's: `worst linf 4/255`."""
    return f"{WORST} {norm} {over_255(eps)}"


def ranking_norm(matrix: Iterable[str], attacks: Mapping[str, AttackFacts]) -> str:
    """The norm of the ranking's eps: that of the matrix' first attack, or linf if no attack says."""
    return next((attacks[a].norm for a in matrix if a in attacks and attacks[a].kind != CLEAN), "linf")
