"""Proofs that nothing is forgotten: a fresh process made every classifier again from the last state, and stored facts of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from reports.numbers.wording import counted
from results.schema import UNFORGETTING

KINDS = ("classifier", "logits", "predictions")


@dataclass(frozen=True)
class Proof:
    """The outcome for one task.

    same: by kind (of `KINDS`), True if all that was compared was equal; kinds that were not compared are missing.
    attacks: the number of attacks from right after the task was learned that were run again.
    repeated: the number of those that gave the same predictions.
    """

    same: Mapping[str, bool]
    attacks: int = 0
    repeated: int = 0

    @property
    def is_whole(self) -> bool:
        """True if the bits of the classifier were compared. Logits and predictions are compared only for some tasks."""
        return "classifier" in self.same

    @property
    def differing(self) -> list[str]:
        return [kind for kind in KINDS if not self.same.get(kind, True)]

    def __str__(self) -> str:
        if self.differing:
            return f"no: other {', '.join(self.differing)}"
        words = [f"same {'bits' if kind == 'classifier' else kind}" for kind in KINDS[:2] if kind in self.same]
        if self.attacks:
            words.append(f"{counted(self.attacks, 'attack')} repeated")
        return f"yes: {', '.join(words)}"


def proofs(facts: pd.DataFrame) -> dict[int, Proof]:
    """The proof by task; empty if none is stored."""
    rows = facts[facts["phase"] == UNFORGETTING].drop_duplicates(["task", "name", "text"], keep="last")
    found = {}
    for task, of_task in rows.groupby("task"):
        equal = of_task["value"] == 1
        same = {kind: bool(equal[of_task["name"] == f"same_{kind}"].all()) for kind in KINDS}
        compared = set(of_task["name"])
        attacks = equal[of_task["name"] == "same_predictions"]
        found[int(str(task))] = Proof(
            {kind: value for kind, value in same.items() if f"same_{kind}" in compared},
            len(attacks),
            int(attacks.sum()),
        )
    return found
