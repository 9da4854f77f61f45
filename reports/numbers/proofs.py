"""Proofs that nothing is forgotten: a fresh process made every classifier again from the last state, and stored facts of it."""

from __future__ import annotations

import json
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
    alone: False if the method reached for what is not in its state.
    """

    same: Mapping[str, bool]
    attacks: int = 0
    repeated: int = 0
    alone: bool = True

    @property
    def is_whole(self) -> bool:
        """True if the bits of the classifier were compared. Logits and predictions are compared only for some tasks."""
        return "classifier" in self.same

    @property
    def differing(self) -> list[str]:
        return [kind for kind in KINDS if not self.same.get(kind, True)]

    def __str__(self) -> str:
        if not self.alone:
            return "no: not from its state alone"
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
    alone = what_was_reached(rows) is None
    for task, of_task in rows[rows["task"] >= 0].groupby("task"):
        equal = of_task["value"] == 1
        same = {kind: bool(equal[of_task["name"] == f"same_{kind}"].all()) for kind in KINDS}
        compared = set(of_task["name"])
        attacks = equal[of_task["name"] == "same_predictions"]
        found[int(str(task))] = Proof(
            {kind: value for kind, value in same.items() if f"same_{kind}" in compared},
            len(attacks),
            int(attacks.sum()),
            alone,
        )
    return found


@dataclass(frozen=True)
class Reached:
    """The things that code of a method reached for, and was refused, while its classifiers were made anew and answered.

    names: files by their paths, other things in words; never empty.
    error: what came of it, one line; empty if it went on.
    """

    names: tuple[str, ...]
    error: str = ""

    def __str__(self) -> str:
        others = f" and {counted(len(self.names) - 1, 'other thing')}" if len(self.names) > 1 else ""
        return f"reached for {self.names[0]}{others}, which is not in the stored state"


def what_was_reached(facts: pd.DataFrame) -> Reached | None:
    """The things that were reached for by the facts of one phase; None if nothing was."""
    names: list[str] = []
    error = ""
    for text in facts.loc[facts["name"] == "reached", "text"]:
        try:
            fact = json.loads(text)
            names += [str(name) for name in fact["reached"]]
            error = str(fact["error"]) or error
        except (TypeError, ValueError, KeyError):
            names.append("something unnamed")
    return Reached(tuple(dict.fromkeys(names)), error) if names else None


def why_unproved(facts: pd.DataFrame) -> str:
    """The reason why nothing could be proved on the machine of the run; empty if there is none."""
    texts = facts.loc[(facts["phase"] == UNFORGETTING) & (facts["name"] == "unproved"), "text"].tolist()
    return str(texts[-1]) if texts else ""
