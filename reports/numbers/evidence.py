"""What a check may look at: one run's stored evidence under one preset's protocol."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from reports.numbers.metrics import CLEAN, WORST, accuracy
from reports.numbers.outcomes import NOT_MEASURED, Outcomes
from results import Run
from results.schema import ANY

TRANSFER = "transfer"
SUBMITTED = "submitted"
"""Images that somebody else made for one row: no attack that other rows could have."""
COMPOSITIONS = ("autoattack", "autoattack-c3", "autoattack-c2", "ensemble")
"""Attacks of several parts, Square among them."""
_COLUMNS = ("attack", "version", "norm", "eps", "steps", "step_size", "restarts", "loss")
"""Fields of a specification that have a place of their own in `AttackFacts`, or do not say how it attacks."""
_ORIGIN = "origin"
"""Which run a transfer's images were made on: another one per seed, where the attack is the same."""


def fraction(text: Any) -> Fraction | None:
    """An exact number from stored text such as "8/255"; None where there is none."""
    try:
        return Fraction(str(text))
    except (ValueError, ZeroDivisionError):
        return None


@dataclass(frozen=True)
class Protocol:
    """What a preset demanded of a run: `config.json`'s protocols[preset]."""

    stored: Mapping[str, Any]

    @property
    def eps(self) -> Fraction | None:
        """The eps of the ranking."""
        return fraction(self.stored.get("ranking_eps", self.stored.get("eps")))

    @property
    def matrix(self) -> list[str]:
        return list(self.stored.get("matrix", []))

    @property
    def final(self) -> list[str]:
        return list(self.stored.get("final", []))

    @property
    def transfers(self) -> list[str]:
        """Attacks made on other classifiers. Those runs may not be there, so a row is complete without them."""
        return list(self.stored.get("transfers", []))

    @property
    def attacks(self) -> list[str]:
        return list(dict.fromkeys([*self.matrix, *self.final, *self.transfers]))

    @property
    def checks(self) -> list[str]:
        """Attacks that only checks look at. No number is made of them, and records of before they were made lack them."""
        return list(self.stored.get("checks", []))

    @property
    def tasks(self) -> int:
        return int(self.stored.get("tasks", 0))

    def samples(self, attack: str, *, final: bool) -> int | None:
        """How many samples of each task an attack must cover, after the last task or after any; None: all."""
        demanded = self.stored.get("samples" if final else "matrix_samples", {}).get(attack)
        return None if demanded is None else int(demanded)

    @property
    def all_at_once(self) -> bool | None:
        """Whether the method learns all tasks at once; None in records that do not say."""
        return self.stored.get("all_at_once")

    @property
    def claims(self) -> list[str] | None:
        """What the method claims of itself, such as `unforgetting`; None in records that do not say."""
        claims = self.stored.get("claims")
        return None if claims is None else [str(claim) for claim in claims]

    @property
    def extra_data(self) -> bool:
        """Whether the method learned from other data than the stream's."""
        return "extra_data" in self.needs

    @property
    def needs(self) -> list[str]:
        """What the method needs beyond a task's training images; empty in records that do not say."""
        return [str(need) for need in self.stored.get("needs", [])]

    @property
    def own_recipe(self) -> dict[str, object]:
        """The fields of its recipe, by dotted name, that differ from the preset's."""
        return dict(self.stored.get("own_recipe", {}))

    @property
    def source(self) -> str:
        """Where its settings and recipe are from, where they are not the method's defaults and the preset's recipe."""
        return str(self.stored.get("source", ""))

    @property
    def demanded_at(self) -> str:
        return str(self.stored.get("demanded_at", ""))

    @property
    def is_row(self) -> bool:
        """False for a run that was demanded as a prerequisite of another one only."""
        return bool(self.stored.get("row_of_preset", True))

    @property
    def robust_matrix(self) -> str | None:
        """The attack of the matrix that robust forgetting is measured under: the first that is not `clean`."""
        return next((attack for attack in self.matrix if attack != CLEAN), None)


Threat = tuple[str, Fraction | None]
"""(norm, eps)"""


@dataclass(frozen=True)
class AttackFacts:
    """The specification of an attack as stored with its evaluations.

    rest: (field, value as JSON) of every other field, by name, e.g. ("targets", "9"), ("source", '"single_task_at"').
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
        return self.name + ANY

    @property
    def threat(self) -> Threat:
        return self.norm, self.eps

    @property
    def step_in_eps(self) -> Fraction | None:
        """The step size as a multiple of eps; None without a step size, or at eps 0."""
        return self.step_size / self.eps if self.step_size is not None and self.eps else None

    def apart_from(self, *fields: str) -> tuple[Any, ...]:
        """All of the specification but these fields: attacks of equal values differ in nothing else.

        fields: of norm, eps, steps, step_size, restarts, loss. Step sizes are in units of eps where eps is left out.
        """
        step = self.step_in_eps if "eps" in fields else self.step_size
        own = {"norm": self.norm, "eps": self.eps, "steps": self.steps, "step_size": step}
        own |= {"restarts": self.restarts, "loss": self.loss}
        return self.kind, *((name, value) for name, value in own.items() if name not in fields), self.rest


@dataclass(frozen=True)
class Evidence:
    """One run under one protocol. `outcomes` holds all stored outcomes and, where it could be had, `worst`.

    attacks: those that numbers are made of; check_attacks: those that only checks look at. control: the run of an undefended
    network per task under the same protocol and seed, where there is one.
    """

    run: Run
    protocol: Protocol
    outcomes: Outcomes
    tasks: pd.DataFrame
    evaluations: pd.DataFrame
    facts: pd.DataFrame
    attacks: Mapping[str, AttackFacts]
    check_attacks: Mapping[str, AttackFacts] = field(default_factory=dict)
    control: Evidence | None = None

    @property
    def label(self) -> str:
        """What the preset calls the run; another preset may call it something else."""
        return str(self.protocol.stored.get("label") or self.run.label)

    @property
    def ranking(self) -> Threat:
        """The norm and eps of the ranking."""
        return ranking_norm(self.protocol.matrix, self.attacks), self.protocol.eps

    def at_ranking_eps(self) -> list[AttackFacts]:
        """The attacks at the ranking's norm and eps that are demanded of every row and were run, `clean` not among them."""
        optional = (CLEAN, TRANSFER, SUBMITTED)
        return [a for a in self.attacks.values() if a.kind not in optional and a.threat == self.ranking]

    def in_worst(self) -> dict[str, set[str]]:
        """What every `worst` is taken over, by its name: `worst` at the ranking's norm and eps, `worst linf 4/255` at others.

        That is `clean` and every attack there, any-iterate included; a transfer once it covers all that is asked of it, and
        what was submitted for this run. Nothing where no attack is at the ranking's norm and eps.
        """
        found: dict[str, set[str]] = {}
        if not self.at_ranking_eps():
            return found
        for attack in self.attacks.values():
            if not attack.eps or (attack.kind == TRANSFER and not self.is_whole(attack.name)):
                continue
            name = WORST if attack.threat == self.ranking else worst_at(*attack.threat)
            found.setdefault(name, {CLEAN}).update({attack.name, attack.any})
        return {name: names & set(self.outcomes.correct) for name, names in sorted(found.items())}

    def without_checks(self) -> Evidence:
        """The evidence that numbers are made of: what only checks look at left out."""
        extra = {name for attack in self.check_attacks.values() for name in (attack.name, attack.any)}
        names = [name for name in self.outcomes.correct if name not in extra]
        return replace(self, outcomes=self.outcomes.only(names), check_attacks={}, control=None)

    def is_whole(self, attack: str) -> bool:
        """Whether the attack covers, after the last task, as many samples of every task as are asked for."""
        asked, last = self.protocol.samples(attack, final=True), self.outcomes.last
        cells = [self.outcomes.vector(attack, last, j) for j in range(self.outcomes.tasks)]
        return all((cell != NOT_MEASURED).sum() >= min(len(cell), asked or len(cell)) for cell in cells)

    def strongest_name(self, attack: AttackFacts) -> str:
        """The attack's any-iterate outcome where it is stored, else the final one."""
        return attack.any if attack.any in self.outcomes.correct else attack.name

    def after_last(self, first: str, second: str) -> tuple[np.ndarray, np.ndarray]:
        """Paired outcomes (bool) of two attacks after the last task, over all samples that both cover."""
        a, b = self.standing([first], [second])
        return a, b

    def standing(self, *groups: Sequence[str]) -> list[np.ndarray]:
        """Per group of attacks: which samples are right under all of it after the last task, bool (n,).

        Over all samples, task after task, that every attack of every group covers. No group may be empty.
        """
        lowest, covered = self._lowest(groups)
        return [cell[covered] == 1 for cell in lowest]

    def standing_by_sample(self, *groups: Sequence[str]) -> tuple[list[np.ndarray], np.ndarray]:
        """As `standing`, and which samples these are: (task, sample id), int64 (n, 2)."""
        lowest, covered = self._lowest(groups)
        return [cell[covered] == 1 for cell in lowest], self.outcomes.ids[covered]

    def _lowest(self, groups: Sequence[Sequence[str]]) -> tuple[list[np.ndarray], np.ndarray]:
        """Per group the smallest outcome of each sample, int8 (n,): 1 where all are right, -1 where one was not measured.

        And which samples every attack of every group covers, bool (n,).
        """
        lowest = [np.min([self.outcomes.after_last(name) for name in group], 0) for group in groups]
        return lowest, np.all([cell != NOT_MEASURED for cell in lowest], 0)

    def chance(self, task: int) -> float:
        """Accuracy of guessing on a task; 0 where it is not stored, so that nothing is excused by it."""
        known = self.tasks.loc[self.tasks["task"] == task, "chance"].dropna()
        return float(known.iloc[0]) if len(known) else 0.0

    def strongest_cell(self, attack: str, after_task: int, task: int) -> tuple[float, int]:
        """Accuracy (any-iterate where stored) and number of samples of one cell."""
        name = attack + ANY if attack + ANY in self.outcomes.correct else attack
        correct = self.outcomes.vector(name, after_task, task)
        return accuracy(correct), int((correct >= 0).sum())

    @cached_property
    def traces(self) -> list[tuple[Any, dict[str, Any]]]:
        """Each evaluation (a named tuple of its columns) with its trace, where there is a readable one.

        Of the newest version of each attack, and once where directories were merged.
        """
        found = []
        rows = self.evaluations
        older = rows["attack_version"] < rows.groupby("attack")["attack_version"].transform("max")
        for evaluation in rows[~older].drop_duplicates().itertuples(index=False):
            try:
                trace = json.loads(evaluation.trace) if isinstance(evaluation.trace, str) else None
            except ValueError:
                trace = None
            if isinstance(trace, dict):
                found.append((evaluation, trace))
        return found


def over_255(value: Fraction | None) -> str:
    """An eps or step size as attacks are named by it: Fraction(8, 255) → "8/255", Fraction(1, 20) → "12.75/255"."""
    if value is None:
        return ""
    scaled = value * 255
    return f"{scaled.numerator}/255" if scaled.denominator == 1 else f"{float(scaled):.6g}/255"


def worst_at(norm: str, eps: Fraction | None) -> str:
    """The name of `worst` at another norm and eps than the ranking's: `worst linf 4/255`."""
    return f"{WORST} {norm} {over_255(eps)}"


def ranking_norm(matrix: Iterable[str], attacks: Mapping[str, AttackFacts]) -> str:
    """The norm of the ranking's eps: that of the matrix' first attack, linf where no attack says."""
    return next((attacks[a].norm for a in matrix if a in attacks and attacks[a].kind != CLEAN), "linf")


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
            whole(row.restarts), text(row.loss), _rest(row.specification),
        )  # fmt: skip
    return dict(sorted(found.items()))


def _rest(specification: Any) -> tuple[tuple[str, str], ...]:
    """The fields of a stored specification that have no column; none where there is no readable one."""
    try:
        fields = json.loads(specification) if isinstance(specification, str) else {}
    except ValueError:
        fields = {}
    if not isinstance(fields, dict):
        return ()
    left = {name: value for name, value in fields.items() if name not in (*_COLUMNS, _ORIGIN)}
    return tuple(sorted((name, json.dumps(value, sort_keys=True)) for name, value in left.items()))
