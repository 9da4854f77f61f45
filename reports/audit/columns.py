"""SHIELD's table in our hands: one network under three attacks, each with the eps of its column, and what copied rows do.

The signature of such a table: one step of FGSM breaks more than a hundred of PGD, or PGD more than AutoAttack. Within one ball a
longer search hardly ever finds less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
import pandas as pd

from reports.numbers.statistics.contrasts import SeedOutcomes, contrast, mean_accuracy

AUTOATTACK, PGD, FGSM = "autoattack", "pgd", "fgsm"
"""The columns, from the strongest attack to the weakest where all have one eps."""
ONE_BALL, OWN_EPS, RELEASED = "one eps", "each its own eps", "as released"
EPS_OF_COLUMN, COPIED = "eps_of_column", "comparator_copied"
COLUMN_TABLES = (EPS_OF_COLUMN, COPIED, "seeds")
"""The small tables of an audit of SHIELD, by their names on the command line."""
_PAIRS = ((PGD, FGSM), (AUTOATTACK, PGD))
"""The first of each pair searches longer."""


@dataclass(frozen=True)
class ColumnOutcomes:
    """The outcomes of one row's networks in the columns of the table.

    radii: `ONE_BALL`, `OWN_EPS` or `RELEASED`.
    attacked: by column.
    clean: on unchanged images, classified as attacked ones are.
    """

    method: str
    radii: str
    attacked: Mapping[str, SeedOutcomes]
    clean: SeedOutcomes

    def by_task(self, column: str) -> list[float]:
        """The accuracy on each task, mean over seeds."""
        seeds = list(self.attacked[column].values())
        return [float(np.mean([seed[task].mean() for seed in seeds])) for task in range(len(seeds[0]))]


def columns_table(found: Sequence[ColumnOutcomes], tasks: Sequence[str]) -> pd.DataFrame:
    """A line per task, and one for their mean, with the accuracy in each column.

    fgsm_below_pgd, pgd_below_autoattack: 1 where the weaker search breaks more; the number of tasks in the line of the mean.
    pgd_minus_fgsm, autoattack_minus_pgd, _low, _high: the difference of the means and its paired 95 % interval.
    """
    records = []
    for each in found:
        columns = {column: each.by_task(column) for column in (AUTOATTACK, PGD, FGSM)}
        below = {f"{weak}_below_{strong}": _below(each, strong, weak) for strong, weak in _PAIRS}
        for number, task in enumerate(tasks):
            record: dict[str, object] = {"method": each.method, "radii": each.radii, "task": task}
            record |= {column: values[number] for column, values in columns.items()}
            records.append(record | {name: int(flags[number]) for name, flags in below.items()})
        mean: dict[str, object] = {"method": each.method, "radii": each.radii, "task": "mean"}
        mean |= {column: float(np.mean(values)) for column, values in columns.items()}
        mean |= {"clean": mean_accuracy(each.clean)} | {name: sum(flags) for name, flags in below.items()}
        for strong, weak in _PAIRS:
            difference, bounds = contrast([(1.0, each.attacked[strong]), (-1.0, each.attacked[weak])])
            name = f"{strong}_minus_{weak}"
            mean |= {name: difference, f"{name}_low": bounds.low, f"{name}_high": bounds.high}
        records.append(mean)
    return pd.DataFrame(records)


def _below(each: ColumnOutcomes, strong: str, weak: str) -> list[bool]:
    """By task, True where the weaker search leaves fewer images right than the stronger one."""
    return [w < s for s, w in zip(each.by_task(strong), each.by_task(weak), strict=True)]


def columns_in_words(found: Sequence[ColumnOutcomes]) -> list[str]:
    """A sentence for each row and each way to give the columns their eps."""
    names = {AUTOATTACK: "suite (AutoAttack's place)", PGD: "PGD-100", FGSM: "FGSM"}
    sentences = []
    for each in found:
        values = ", ".join(
            f"{names[column]} {100 * np.mean(each.by_task(column)):.1f}" for column in (AUTOATTACK, PGD, FGSM)
        )
        told = []
        for strong, weak in _PAIRS:
            flags = _below(each, strong, weak)
            told.append(f"{names[weak]} below {names[strong]} on {sum(flags)} of {len(flags)} tasks")
        clean = 100 * mean_accuracy(each.clean)
        sentences.append(f"{each.method}, {each.radii}: {values}, clean {clean:.1f}; {'; '.join(told)}")
    return sentences


def published_columns(published: pd.DataFrame) -> pd.DataFrame:
    """Each published row with the same two questions; published: the table of `shield_til.csv`."""
    return published.assign(
        fgsm_below_pgd=(published["fgsm"] < published["pgd"]).astype(int),
        pgd_below_autoattack=(published["pgd"] < published["autoattack"]).astype(int),
    )


def copied_table(found: Sequence[ColumnOutcomes], published: pd.DataFrame) -> pd.DataFrame:
    """Rows of one table of which one is measured under the released PGD, the others as they were published elsewhere.

    difference, low, high: of the same network under the released PGD (a quarter of the radius, steps of the whole) against PGD
        at the whole radius, with its paired 95 % interval: the lead that a row has over itself.
    published: the table of `shield_til.csv`.
    """
    records = []
    by_radii = {(each.method, each.radii): each for each in found}
    for method in dict.fromkeys(each.method for each in found):
        whole, own = (by_radii[method, radii].attacked[PGD] for radii in (ONE_BALL, OWN_EPS))
        difference, bounds = contrast([(1.0, own), (-1.0, whole)])
        line = {"source": "measured here", "row": method}
        records.append(
            {**line, "attack": "PGD-100, eps, steps of eps/4", "accuracy": mean_accuracy(whole)}
            | {"difference": nan, "low": nan, "high": nan}
        )
        records.append(
            {**line, "attack": "PGD-100, eps/4, steps of eps", "accuracy": mean_accuracy(own)}
            | {"difference": difference, "low": bounds.low, "high": bounds.high}
        )
    for row in published[published["benchmark"] == "split_cifar100"].to_dict("records"):
        attack = "PGD of the released code" if row["source"] == "its own code" else "PGD of a source that is not told"
        records.append(
            {"source": "SHIELD's table", "row": row["label"], "attack": attack, "accuracy": row["pgd"] / 100}
            | {"difference": nan, "low": nan, "high": nan}
        )
    return pd.DataFrame(records)
