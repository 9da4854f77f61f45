"""Published tables of other papers than the thesis, with ours beside them on the streams that they are of.

CPG's clean accuracies stand beside rows on the CIFAR-100 superclasses, SHIELD's table beside rows on Split-CIFAR100.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
import pandas as pd

from reports.boards.board import Row
from reports.boards.sweeps import strongest
from reports.exhibits.exhibits import Exhibits
from reports.exhibits.scores_table import MEAN, scores_of
from reports.numbers.metrics import CLEAN
from reports.numbers.published_values import PRINTED_AVERAGE
from reports.numbers.wording import counted, over_255
from reports.tables.words import NOT_AVAILABLE, label_of, percent, percent_with_interval

SPLIT_CIFAR100 = "split_cifar100"
CPG_TITLE = "Clean accuracy by superclass, beside CPG's table"
SHIELD_TITLE = "Split-CIFAR100, beside SHIELD's table"
FLAIR_TITLE = "Split-CIFAR100 among all classes: nothing published stands beside it"
FLAIR = (
    "The published numbers of this stream are FLAIR's (AAAI 2025: AT with LwF, iCaRL with AT, FLAIR; 8/255, PGD-20, AutoAttack). "
    "Its repository holds no table, and the tables of its paper were not at hand, so nothing of it stands here."
)


@dataclass(frozen=True)
class OtherTable:
    """A published table of others; an empty one if it is only told why there is none.

    name: in names of files.
    table: numbers for files.
    reading, caption: text in percent, and the words over it.
    """

    name: str
    title: str
    fits: Callable[[Exhibits], bool]
    table: Callable[[Exhibits], pd.DataFrame]
    reading: Callable[[Exhibits], pd.DataFrame]
    caption: Callable[[Exhibits], str]


def beside(exhibits: Exhibits) -> list[OtherTable]:
    """The tables that stand beside the rows of a board; none if no row is ranked."""
    return [each for each in OTHERS if exhibits.board.ranked and each.fits(exhibits)]


# -- CPG --------------------------------------------------------------------------------------------------------------


def _rows_of(exhibits: Exhibits, methods: Sequence[str]) -> list[Row]:
    """The ranked rows of these methods, in the order of the methods."""
    return [row for method in methods for row in exhibits.board.ranked if row.method == method]


def _cpg_rows(exhibits: Exhibits) -> list[Row]:
    return _rows_of(exhibits, list(exhibits.published.cpg["method"].unique()))


def cpg_table(exhibits: Exhibits) -> pd.DataFrame:
    """A line per superclass of the board, their mean, and the published average over all 20: fractions.

    published_*: by the label in print. The others: clean accuracy after the last task, mean over seeds, by label.
    """
    printed = exhibits.published.cpg.pivot(index="superclass", columns="label", values="accuracy") / 100
    # In the order of print.
    printed = printed[list(exhibits.published.cpg["label"].unique())]
    names = exhibits.tasks
    found: dict[str, list[object]] = {"task": [*names, MEAN, "mean of all 20", PRINTED_AVERAGE]}
    all_20 = printed.drop(index=PRINTED_AVERAGE)
    for label in printed.columns:
        here = [float(printed[label].get(name, nan)) for name in names]
        average = float(printed[label].loc[PRINTED_AVERAGE])
        found[f"published_{label}"] = [*here, float(np.mean(here)), float(all_20[label].mean()), average]
    for row in _cpg_rows(exhibits):
        found[row.label] = [*scores_of(row, CLEAN)[:, :, 0].mean(0).tolist(), nan, nan]
    return pd.DataFrame(found)


def _cpg_reading(exhibits: Exhibits) -> pd.DataFrame:
    frame = cpg_table(exhibits)
    labels = {row.label: label_of(row) for row in _cpg_rows(exhibits)}
    return pd.DataFrame(
        {
            labels.get(name, name.replace("published_", "published: ")): frame[name]
            if name == "task"
            else frame[name].map(percent)
            for name in frame.columns
        }
    )


def cpg_caption(exhibits: Exhibits) -> str:
    """The words over CPG's table."""
    table = exhibits.published.cpg
    off = []
    for label, cells in table.groupby("label", sort=False):
        is_average = cells["superclass"] == PRINTED_AVERAGE
        average, printed = float(cells["accuracy"][~is_average].mean()), float(cells["accuracy"][is_average].iloc[0])
        # Averages are printed with one decimal, some of them rounded down.
        if abs(average - printed) > 0.1:
            off.append(
                f"the printed row of {label} averages {average:.2f}, not the {printed} beside it: a cell is mistyped"
            )
    words = [
        "Clean accuracy in percent after the last task, task given (chance 20). Published: Hung et al. 2019 (CPG), the table in "
        "its repository's README: VGG16-BN, learned without an attack, 20 tasks in this order, each normalised by itself, epochs "
        "and growth decided on the images that are reported.",
        f"Ours: {counted(exhibits.board.tasks, 'task')}, learned as the preset says, most rows under attack, which costs clean "
        "accuracy; decided on validation images. Not comparable: shown side by side.",
        *(f"{text[0].upper()}{text[1:]}." for text in off),
    ]
    return " ".join(words)


# -- SHIELD -----------------------------------------------------------------------------------------------------------

_COLUMNS = {"autoattack": "AutoAttack", "pgd": "PGD", "fgsm": "FGSM", "clean": "clean"}


def _outcomes(exhibits: Exhibits) -> dict[str, str]:
    """By column the stored outcome of ours that stands beside it; empty text where the preset has none.

    PGD: the longest at the step size of the matrix' attack, any-iterate.
    """
    board = exhibits.board
    stored = {name for row in board.rows for name in row.measures.matrices}
    usual = board.attacks.get(board.robust_matrix or "")
    here = [attack for attack in board.attacks.values() if usual and attack.threat == usual.threat]
    alike = [a for a in here if usual and a.apart_from("steps") == usual.apart_from("steps")]
    longest = max(alike, key=lambda attack: attack.steps, default=None)
    official = next((a.name for a in here if a.kind.startswith("autoattack")), "")
    single = next((a.name for a in here if a.kind == "fgsm"), "")
    pgd = "" if longest is None else strongest(longest, stored)
    return {"autoattack": official, "pgd": pgd, "fgsm": single, "clean": CLEAN}


def shield_table(exhibits: Exhibits) -> pd.DataFrame:
    """A line per row of SHIELD's table: the published columns, and ours of the method that it names, as fractions.

    ours_*: NaN without a ranked row of the method, or where the preset has no such attack. published_source: as in the file.
    """
    names = _outcomes(exhibits)
    published = exhibits.published.shield_til
    records = []
    for line in published[published["benchmark"] == SPLIT_CIFAR100].to_dict("records"):
        row = exhibits.row_of(line["method"])
        record = {"published_as": line["label"], "method": line["method"], "label": row.label if row else ""}
        for column in _COLUMNS:
            record[f"published_{column}"] = line[column] / 100
            ours = row.measures.value(f"ACC_lopezpaz2017 {names[column]}") if row and row.is_ranked else nan
            record[f"ours_{column}"] = ours
        records.append({**record, "published_source": line["source"]})
    return pd.DataFrame(records)


def _shield_reading(exhibits: Exhibits) -> pd.DataFrame:
    names = _outcomes(exhibits)
    records = []
    for line in shield_table(exhibits).to_dict("records"):
        row = exhibits.row_of(line["method"])
        record = {"published as": line["published_as"]}
        record |= {title: percent(line[f"published_{column}"]) for column, title in _COLUMNS.items()}
        record["label"] = NOT_AVAILABLE if row is None else label_of(row)
        for column, title in _COLUMNS.items():
            known = row is not None and row.is_ranked
            text = percent_with_interval(row, f"ACC_lopezpaz2017 {names[column]}") if row and known else NOT_AVAILABLE
            record[f"ours, {title}"] = text
        records.append({**record, "source": line["published_source"]})
    return pd.DataFrame(records)


def shield_caption(exhibits: Exhibits) -> str:
    """The words over SHIELD's table."""
    board = exhibits.board
    names = {
        title: name
        for (column, title), name in zip(_COLUMNS.items(), _outcomes(exhibits).values(), strict=True)
        if name
    }
    ours = ", ".join(f"{title}: {name}" for title, name in names.items() if name != CLEAN)
    return (
        "Accuracy in percent after the last task, task given. Published: SHIELD (arXiv 2506.08255), the table in its "
        "repository's README, 10 tasks of 10 classes. The released configurations attack with another eps in each column "
        "(AutoAttack 2/255, PGD 1/255 with steps of 4/255, FGSM 4/255), take batch norm from the test batch, and have no code "
        "for the other rows, which seem copied. SHIELD-IM is SHIELD with interval mixup. "
        f"Ours: {counted(board.tasks, 'task')}, eps {over_255(board.eps)} in every column ({ours}). Not comparable: shown side "
        "by side; docs/audit.md says what the difference is worth."
    )


OTHERS: tuple[OtherTable, ...] = (
    OtherTable(
        "cpg",
        CPG_TITLE,
        lambda exhibits: exhibits.is_of_thesis_data,
        cpg_table,
        _cpg_reading,
        cpg_caption,
    ),
    OtherTable(
        "shield",
        SHIELD_TITLE,
        lambda exhibits: exhibits.scenario == SPLIT_CIFAR100 and exhibits.asks_within_tasks,
        shield_table,
        _shield_reading,
        shield_caption,
    ),
    OtherTable(
        "flair",
        FLAIR_TITLE,
        lambda exhibits: exhibits.scenario == SPLIT_CIFAR100 and not exhibits.asks_within_tasks,
        lambda exhibits: pd.DataFrame(),
        lambda exhibits: pd.DataFrame(),
        lambda exhibits: FLAIR,
    ),
)
"""Every table of others, by the boards that it stands beside."""
