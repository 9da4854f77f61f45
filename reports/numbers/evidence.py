"""Evidence: all that a check may look at, one run's stored records under one preset's protocol."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from reports.numbers.attack_facts import (
    COUNTED_EXTRAS,
    SUBMITTED,
    TRANSFER,
    AttackFacts,
    Threat,
    ranking_norm,
    worst_at,
)
from reports.numbers.labels import shown_label
from reports.numbers.metrics import CLEAN, WORST, accuracy
from reports.numbers.outcomes import NOT_MEASURED, Outcomes
from reports.numbers.protocol import Protocol
from reports.numbers.submissions import with_found
from results import Run
from results.schema import ANY


@dataclass(frozen=True)
class Evidence:
    """One run under one protocol.

    outcomes: all stored outcomes, and `worst` if no demanded attack is missing.
    tasks, evaluations, facts: tables of the run, with the columns of `results.schema`.
    attacks: by name, the attacks that numbers are made of.
    extra_attacks: by name, the attacks for the checks alone.
    control: the undefended network per task under the same protocol and seed; None if it was not run.
    found: by name, of each extra attack that counts in `worst`, the number of samples that it broke and no demanded attack did;
        empty while `worst` is that of the demanded attacks alone, as checks see it.
    """

    run: Run
    protocol: Protocol
    outcomes: Outcomes
    tasks: pd.DataFrame
    evaluations: pd.DataFrame
    facts: pd.DataFrame
    attacks: Mapping[str, AttackFacts]
    extra_attacks: Mapping[str, AttackFacts] = field(default_factory=dict)
    control: Evidence | None = None
    found: Mapping[str, int] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The preset's name for the run, as every output shows it; another preset may have another."""
        return shown_label(str(self.protocol.stored.get("label") or self.run.label))

    @property
    def ranking(self) -> Threat:
        """The norm and eps of the ranking."""
        return ranking_norm(self.protocol.matrix, self.attacks), self.protocol.eps

    def at_ranking_eps(self) -> list[AttackFacts]:
        """The attacks at the ranking's norm and eps that were run and are demanded of every row, without `clean`."""
        optional = (CLEAN, TRANSFER, SUBMITTED)
        return [a for a in self.attacks.values() if a.kind not in optional and a.threat == self.ranking]

    def in_worst(self) -> dict[str, set[str]]:
        """The outcomes that every `worst` is taken over, by its name: `worst` for the ranking, `worst linf 4/255` elsewhere.

        These are `clean`, every attack at that norm and eps, and any-iterate outcomes. A transfer counts once it covers all
        samples that are asked of it. Empty if no attack is at the ranking's norm and eps.
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
        """The evidence without extra attacks and control: numbers are made of this.

        In its `worst` the samples are broken that an extra attack broke which anybody could have used.
        """
        extra = {name for attack in self.extra_attacks.values() for name in (attack.name, attack.any)}
        names = [name for name in self.outcomes.correct if name not in extra]
        found = self._found_by_extra_attacks()
        outcomes = with_found(self.outcomes, found).only(names)
        return replace(self, outcomes=outcomes, extra_attacks={}, control=None, found=found)

    def _found_by_extra_attacks(self) -> dict[str, int]:
        """As `found`, from the outcomes."""
        if WORST not in self.outcomes.correct:
            return {}
        attacks = [a for a in self.extra_attacks.values() if a.kind in COUNTED_EXTRAS and a.threat == self.ranking]
        found = {}
        for attack in attacks:
            worst, broken = self.after_last(WORST, attack.name)
            if len(worst):
                found[attack.name] = int((worst & ~broken).sum())
        return found

    def is_whole(self, attack: str) -> bool:
        """True if the attack covers as many samples of every task as are asked for, after the last task."""
        asked, last = self.protocol.samples(attack, final=True), self.outcomes.last
        cells = [self.outcomes.vector(attack, last, j) for j in range(self.outcomes.tasks)]
        return all((cell != NOT_MEASURED).sum() >= min(len(cell), asked or len(cell)) for cell in cells)

    def strongest_name(self, attack: AttackFacts) -> str:
        """The name of the attack's any-iterate outcome if that is stored, else of its final one."""
        return attack.any if attack.any in self.outcomes.correct else attack.name

    def after_last(self, first: str, second: str) -> tuple[np.ndarray, np.ndarray]:
        """The paired outcomes of two attacks after the last task, bool (n,) each, over all samples that both cover."""
        a, b = self.standing([first], [second])
        return a, b

    def standing(self, *groups: Sequence[str]) -> list[np.ndarray]:
        """Per group of attacks, bool (n,): True for samples that are right under all of the group after the last task.

        The samples are those that every attack of every group covers, task after task. No group may be empty.
        """
        lowest, covered = self._lowest(groups)
        return [cell[covered] == 1 for cell in lowest]

    def standing_by_sample(self, *groups: Sequence[str]) -> tuple[list[np.ndarray], np.ndarray]:
        """The result of `standing`, and (task, sample id) of its samples, int64 (n, 2)."""
        lowest, covered = self._lowest(groups)
        return [cell[covered] == 1 for cell in lowest], self.outcomes.ids[covered]

    def _lowest(self, groups: Sequence[Sequence[str]]) -> tuple[list[np.ndarray], np.ndarray]:
        """Per group the smallest outcome of each sample, int8 (n,), and bool (n,): True where every attack covers the sample.

        The smallest outcome is 1 where all are right, and -1 where an attack does not cover the sample.
        """
        lowest = [np.min([self.outcomes.after_last(name) for name in group], 0) for group in groups]
        return lowest, np.all([cell != NOT_MEASURED for cell in lowest], 0)

    def chance(self, task: int, attack: str | None = None, after_task: int | None = None) -> float:
        """The accuracy of guessing on a task; 0 if it is not stored, so that it excuses nothing.

        Where classes are of unequal size it is that of a network which always answers with the largest one. Under protocol
        `class` it is that of guessing among all classes seen.

        attack: the outcome whose samples are meant, after `after_task` or the last task; None: all test samples. A part of them
            is taken from all classes in turn, so classes have other shares there.
        """
        known = self.tasks.loc[self.tasks["task"] == task, "chance"].dropna()
        if not len(known):
            return 0.0
        if self.run.stream_protocol == "class":
            turn = self.outcomes.last if after_task is None else after_task
            return 1 / sum(len(classes) for classes in self.tasks.loc[self.tasks["task"] <= turn, "classes"])
        labels = self.outcomes.labels[task] if task < len(self.outcomes.labels) else np.empty(0, int)
        if attack is not None:
            turn = self.outcomes.last if after_task is None else after_task
            labels = labels[self.outcomes.vector(attack, turn, task) != NOT_MEASURED]
        largest = float(np.bincount(labels).max() / len(labels)) if len(labels) else 0.0
        return max(float(known.iloc[0]), largest)

    def strongest_cell(self, attack: str, after_task: int, task: int) -> tuple[float, int]:
        """The accuracy, any-iterate if stored, and the number of samples of one cell."""
        name = attack + ANY if attack + ANY in self.outcomes.correct else attack
        correct = self.outcomes.vector(name, after_task, task)
        return accuracy(correct), int((correct != NOT_MEASURED).sum())

    @cached_property
    def traces(self) -> list[tuple[Any, dict[str, Any]]]:
        """Every evaluation that has a readable trace, as a named tuple of its columns, and the trace.

        Only the newest version of an attack counts. Evaluations that merged directories hold twice are there once.
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
