"""The thesis' comparison of methods as tables: ours, the published values, the differences, and how the protocols differ.

Numbers for files are fractions; tables for reading are text in percent.
"""

from __future__ import annotations

import re
from math import nan

import pandas as pd

from reports.boards.board import Board, Measures
from reports.boards.sweeps import strongest
from reports.exhibits.exhibits import Exhibits
from reports.numbers.metrics import WORST
from reports.numbers.published_values import BLACK_BOX_100_WAY
from reports.numbers.wording import counted, fraction, over_255
from reports.tables.words import NOT_AVAILABLE, label_of, percent, percent_with_interval, points

LONGEST_PGD = 40
"""Steps of the attack in the thesis' comparison: trained with PGD-10, attacked with PGD-40."""
_FURTHER = {
    "packnet": "the released sequential script trains without an attack",
    "cmat": "the released script cannot run as published",
}
"""Further differences of the two rows that are the thesis' own, by method."""


def methods_table(exhibits: Exhibits) -> pd.DataFrame:
    """A line per row of the thesis' comparison: published value and source, ours, the difference, and how protocols differ.

    Ours is NaN if no ranked row stands for the method, or the attack was not run. PGD-40 is any-iterate.
    """
    records = []
    for line in exhibits.published.methods.to_dict("records"):
        row = exhibits.row_of(line["method"])
        published = line["accuracy"] if exhibits.is_of_thesis_data else nan
        record = {"method": line["method"], "published_as": line["label"], "published": published}
        record |= {"published_attack": line["attack"], "source": line["source"]}
        record["quoted_from"] = ", ".join(exhibits.published.quoted_from(line["accuracy"]) or ()).replace("_", "-")
        record |= {"label": row.label if row else "", "row": row.short_identity if row else ""}
        record |= {"seeds": len(row.seeds) if row else 0, "verdict": row.verdict if row else "not run"}
        measures = row.measures if row is not None and row.is_ranked else Measures()
        for name, attack in _compared(exhibits.board).items():
            value, bounds = measures.value(f"ACC_lopezpaz2017 {attack}"), measures.bounds(f"ACC_lopezpaz2017 {attack}")
            record |= {name: value, f"{name}_low": bounds.low, f"{name}_high": bounds.high}
            record[f"{name}_difference"] = value - published
        records.append({**record, "protocols": _protocols(exhibits, line["method"], line["accuracy"], line["attack"])})
    return pd.DataFrame(records)


def methods_table_for_reading(exhibits: Exhibits) -> pd.DataFrame:
    """The comparison as text in percent, without the published columns if the data are not those of the thesis."""
    records = []
    for line in methods_table(exhibits).to_dict("records"):
        row = exhibits.row_of(line["method"])
        record = {"published as": line["published_as"], "published": percent(line["published"])}
        record["source"] = f"{line['source']} (there: {line['quoted_from']})" if line["quoted_from"] else line["source"]
        below = "" if row is None or row.is_ranked else f": {row.verdict}"
        record["label"] = NOT_AVAILABLE if row is None else label_of(row) + below
        for name, attack in _compared(exhibits.board).items():
            column = f"ACC_lopezpaz2017 {attack}"
            record[name] = NOT_AVAILABLE if row is None or below else percent_with_interval(row, column)
            record[f"{name} − published"] = points(line[f"{name}_difference"])
        records.append(record | {"protocols differ in": line["protocols"]})
    found = pd.DataFrame(records)
    theirs = [name for name in found.columns if name.endswith("published") or name in ("source", "protocols differ in")]
    return found if exhibits.is_of_thesis_data else found.drop(columns=theirs)


def methods_caption(exhibits: Exhibits) -> str:
    """The words over the comparison."""
    board = exhibits.board
    rows = [
        row for row in map(exhibits.row_of, exhibits.published.methods["method"]) if row is not None and row.is_ranked
    ]
    seeds = " or ".join(str(n) for n in sorted({len(row.seeds) for row in rows})) or "0"
    kinds = "; ".join(sorted({row.measures.interval for row in rows}))
    text = (
        f"Ours: accuracy in percent after {counted(board.tasks, 'task')} at eps {over_255(board.eps)} of pixels, white-box, "
        f"{board.question} (chance {percent(board.chance)}), seeds: {seeds}; worst: right under every attack that was run; "
        f"PGD-{LONGEST_PGD}: any-iterate; 95 % intervals ({kinds or 'none'})."
    )
    if exhibits.is_of_thesis_data:
        text += (
            " Published: one column of the thesis that mixes two protocols, neither of them ours. A difference across "
            "protocols is an error of neither side, and no effect of a method: it is shown, and not comparable."
        )
    return text


def _compared(board: Board) -> dict[str, str]:
    """The outcomes of the comparison by title: `worst`, and the matrix' attack with as many steps as the thesis', any-iterate.

    Empty text for an attack that was not run.
    """
    usual = board.attacks.get(board.robust_matrix or "")
    stored = {name for row in board.rows for name in row.measures.matrices}
    alike = [a for a in board.attacks.values() if usual and a.apart_from("steps") == usual.apart_from("steps")]
    long = next((strongest(attack, stored) for attack in alike if attack.steps == LONGEST_PGD), "")
    return {WORST: WORST, f"PGD-{LONGEST_PGD}": long}


def _protocols(exhibits: Exhibits, method: str, accuracy: float, attack: str) -> str:
    """The differences between the protocol of a published value and ours, in words."""
    board = exhibits.board
    if not exhibits.is_of_thesis_data:
        return "other data: nothing published stands beside it"
    tasks, classes = counted(board.tasks, "task"), f"{round(1 / board.chance)} with the task given"
    if method in BLACK_BOX_100_WAY:
        words = [
            "black-box (images made on another network) instead of white-box",
            f"100 classes at once (chance 1 %) instead of {classes} (chance {percent(board.chance)} %)",
            "eps and box on standardised images instead of pixels",
            f"learned at once instead of as {tasks} in sequence",
        ]
        quoted = exhibits.published.quoted_from(accuracy)
        words += (
            [f"its source calls the row {quoted[0]}: no free adversarial training"]
            if method == "free_at" and quoted
            else []
        )
    else:
        words = [
            "eps and clamp on images normalised per task instead of pixels (8/255 there is about 2.09/255 here)",
            "steps of 1.5 instead of a part of eps",
            "decisions on test instead of validation images",
            "one seed without an interval, and no released run at 8/255 behind it",
            *([_FURTHER[method]] if method in _FURTHER else []),
        ]
        there = len(exhibits.published.logs)
        words += [f"{there} tasks instead of {board.tasks}"] if there != board.tasks else []
    printed = re.search(r"eps=(\d+/\d+)", attack)
    if printed and fraction(printed[1]) != board.eps:
        words.append(f"eps {printed[1]} instead of {over_255(board.eps)}")
    return "; ".join(words)
