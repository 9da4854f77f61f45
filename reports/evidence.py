"""What a check may look at: one run's stored evidence under one preset's protocol."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd

from reports.metrics import CLEAN, accuracy
from reports.outcomes import Outcomes
from results import Run
from results.schema import ANY


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
    def attacks(self) -> list[str]:
        return list(dict.fromkeys([*self.matrix, *self.final]))

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


@dataclass(frozen=True)
class AttackFacts:
    """The specification of an attack as stored with its evaluations."""

    name: str
    kind: str
    norm: str
    eps: Fraction | None
    steps: int
    step_size: Fraction | None
    restarts: int
    loss: str

    @property
    def any(self) -> str:
        return self.name + ANY


@dataclass(frozen=True)
class Evidence:
    """One run under one protocol. `outcomes` holds all stored outcomes and, where it could be had, `worst`."""

    run: Run
    protocol: Protocol
    outcomes: Outcomes
    tasks: pd.DataFrame
    evaluations: pd.DataFrame
    facts: pd.DataFrame
    attacks: Mapping[str, AttackFacts]

    @property
    def label(self) -> str:
        """What the preset calls the run; another preset may call it something else."""
        return str(self.protocol.stored.get("label") or self.run.label)

    def at_ranking_eps(self) -> list[AttackFacts]:
        """The demanded attacks at the ranking's eps that were run, `clean` not among them."""
        return [a for a in self.attacks.values() if a.kind != CLEAN and a.eps == self.protocol.eps]

    def strongest_name(self, attack: AttackFacts) -> str:
        """The attack's any-iterate outcome where it is stored, else the final one."""
        return attack.any if attack.any in self.outcomes.correct else attack.name

    def after_last(self, first: str, second: str) -> tuple[np.ndarray, np.ndarray]:
        """Paired outcomes (bool) of two attacks after the last task, over all samples that both cover."""
        pairs = []
        for j in range(self.outcomes.tasks):
            a, b = (self.outcomes.vector(name, self.outcomes.last, j) for name in (first, second))
            both = (a >= 0) & (b >= 0)
            pairs.append((a[both] == 1, b[both] == 1))
        if not pairs:
            return np.empty(0, bool), np.empty(0, bool)
        return np.concatenate([a for a, _ in pairs]), np.concatenate([b for _, b in pairs])

    def chance(self, task: int) -> float:
        """Accuracy of guessing on a task; 0 where it is not stored, so that nothing is excused by it."""
        known = self.tasks.loc[self.tasks["task"] == task, "chance"].dropna()
        return float(known.iloc[0]) if len(known) else 0.0

    def strongest_cell(self, attack: str, after_task: int, task: int) -> tuple[float, int]:
        """Accuracy (any-iterate where stored) and number of samples of one cell."""
        name = attack + ANY if attack + ANY in self.outcomes.correct else attack
        correct = self.outcomes.vector(name, after_task, task)
        return accuracy(correct), int((correct >= 0).sum())

    def traces(self) -> Iterator[tuple[Any, dict[str, list[float]]]]:
        """Each evaluation (a named tuple of its columns) with its trace, where there is a readable one."""
        for evaluation in self.evaluations.itertuples(index=False):
            try:
                trace = json.loads(evaluation.trace) if isinstance(evaluation.trace, str) else None
            except ValueError:
                trace = None
            if isinstance(trace, dict):
                yield evaluation, trace


def attack_facts(evaluations: pd.DataFrame) -> dict[str, AttackFacts]:
    """The attacks of an evaluations table, by name."""

    def whole(value: Any) -> int:
        return 0 if pd.isna(value) else int(value)

    def text(value: Any) -> str:
        return "" if pd.isna(value) else str(value)

    found = {}
    for row in evaluations.drop_duplicates("attack").itertuples(index=False):
        name = str(row.attack)
        found[name] = AttackFacts(
            name, text(row.kind), text(row.norm), fraction(row.eps), whole(row.steps), fraction(row.step_size),
            whole(row.restarts), text(row.loss),
        )  # fmt: skip
    return dict(sorted(found.items()))
