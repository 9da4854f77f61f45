"""What a fresh process found when it made every classifier again from nothing but the last state, read from stored facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from reports.numbers.wording import counted
from results.schema import UNFORGETTING

KINDS = ("classifier", "logits", "predictions")


@dataclass(frozen=True)
class Proof:
    """The outcome for one task. same: by kind (of `KINDS`) whether everything compared was equal; absent: not compared.

    attacks: how many attacks right after the task was learned were repeated; repeated: how many of them came out the same.
    """

    same: Mapping[str, bool]
    attacks: int = 0
    repeated: int = 0

    @property
    def is_whole(self) -> bool:
        """Bits are compared for every task; logits where the same processor computed them, predictions for a few tasks."""
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
    """By task what the proof found; empty where none is stored."""
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
