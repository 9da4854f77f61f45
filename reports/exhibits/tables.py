"""The thesis' bar chart and its comparison of methods as tables: ours, what was published, and how far apart they are.

Numbers for files are fractions; tables for reading are text in percent.
"""

from __future__ import annotations

import re

import pandas as pd

from reports.boards.board import Board, Measures
from reports.boards.sweeps import strongest
from reports.exhibits.exhibits import NAN, Exhibits, trained_eps
from reports.numbers.metrics import WORST
from reports.numbers.published_values import BLACK_BOX_100_WAY
from reports.numbers.wording import counted, fraction, in_eps, over_255
from reports.tables.words import NOT_AVAILABLE, label_of, percent, percent_with_interval, points

LONGEST_PGD = 40
"""The attack of the thesis' comparison: trained with PGD-10, attacked with PGD-40."""
_BESIDES = {
    "packnet": "the released sequential script trains without an attack",
    "cmat": "the released script cannot run as published",
}
"""What else is known of the two rows that the thesis measured itself."""


# -- 1: accuracy by eps and PGD steps ---------------------------------------------------------------------------------


def steps_table(exhibits: Exhibits) -> pd.DataFrame:
    """A line per bar: ours with its interval, what was published, and the difference; NaN where there is none."""
    records = []
    for group in exhibits.groups:
        row, trained = group.row, trained_eps(group.row)
        place = {"label": row.label if row else "", "method": group.method, "row": row.short_identity if row else ""}
        place |= {"trained_eps": str(trained or ""), "eps": str(group.eps), "published_as": group.printed}
        samples = exhibits.samples(row) if row and group.is_measured else 0
        for bar in group.bars:
            values = (
                bar.accuracy,
                bar.bounds.low,
                bar.bounds.high,
                samples,
                bar.published,
                bar.accuracy - bar.published,
            )
            names = ("accuracy", "low", "high", "samples", "published", "difference")
            records.append({**place, "steps": bar.steps, **dict(zip(names, values, strict=True))})
    return pd.DataFrame(records)


def steps_table_for_reading(exhibits: Exhibits) -> pd.DataFrame:
    """A line per group of bars: ours in percent with intervals, each beside what was published."""
    records = []
    for group in exhibits.groups:
        record = {"label": label_of(group.row) if group.row else group.method}
        record |= {"trained at": over_255(trained_eps(group.row)) or NOT_AVAILABLE, "eps": over_255(group.eps)}
        for bar in group.bars:
            inside = (
                f" [{percent(bar.bounds.low)}, {percent(bar.bounds.high)}]" if bar.bounds.low == bar.bounds.low else ""
            )
            record[f"PGD({bar.steps})"] = percent(bar.accuracy) + inside
            if exhibits.is_of_thesis_data:
                record[f"PGD({bar.steps}) published"] = percent(bar.published)
        records.append(record)
    return pd.DataFrame(records)


def steps_caption(exhibits: Exhibits) -> str:
    """What the bars are of, and what of them cannot be compared."""
    rows = {id(group.row): group.row for group in exhibits.groups if group.row is not None and group.is_measured}
    attack = next(iter(next(iter(exhibits.swept.values())).values()))
    over = " or ".join(f"{n:,}" for n in sorted({exhibits.samples(row) for row in rows.values()}))
    kinds = "; ".join(sorted({row.measures.interval for row in rows.values()}))
    size = "" if attack.step_in_eps is None else f" with steps of {in_eps(attack.step_in_eps)}"
    trained = sorted({eps for eps in map(trained_eps, rows.values()) if eps is not None})
    text = (
        f"Accuracy in percent after {counted(exhibits.board.tasks, 'task')} under {attack.kind}{size}, any-iterate, eps in "
        f"pixels, over the {over} test images that all attacks of a row cover; 95 % intervals ({kinds}); chance "
        f"{percent(exhibits.board.chance)}."
    )
    if trained:
        at = " and ".join(over_255(eps) for eps in trained)
        text += f" Our networks were trained at eps {at} and are attacked at every eps."
    if not exhibits.is_of_thesis_data:
        return f"{text} The thesis has no such data, so nothing is published to stand beside it."
    text += (
        " Published: as in the thesis, whose networks were trained at the eps they are attacked with, on "
        f"{len(exhibits.published.logs)} tasks, with eps and clamp on normalised images; not comparable, shown side by side."
    )
    misprinted = [
        f"'{group.printed}' is a typo for eps={group.eps}" for group in exhibits.groups if group.is_misprinted
    ]
    return " ".join([text, *(f"In print {words}." for words in misprinted)])


# -- 2: comparison of methods -----------------------------------------------------------------------------------------


def methods_table(exhibits: Exhibits) -> pd.DataFrame:
    """A line per row of the thesis' comparison: published value and source, ours, the difference, and how protocols differ.

    Ours is NaN where no ranked row stands for the method. PGD-40: any-iterate, where it was run.
    """
    records = []
    for line in exhibits.published.methods.to_dict("records"):
        row = exhibits.row_of(line["method"])
        published = line["accuracy"] if exhibits.is_of_thesis_data else NAN
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
    """The comparison as text in percent; without the published columns where the data are not those of the thesis."""
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
    """What ours is measured by, and that no difference of the table compares like with like."""
    board = exhibits.board
    rows = [
        row for row in map(exhibits.row_of, exhibits.published.methods["method"]) if row is not None and row.is_ranked
    ]
    seeds = " or ".join(str(n) for n in sorted({len(row.seeds) for row in rows})) or "0"
    kinds = "; ".join(sorted({row.measures.interval for row in rows}))
    text = (
        f"Ours: accuracy in percent after {counted(board.tasks, 'task')} at eps {over_255(board.eps)} of pixels, white-box, "
        f"task given (chance {percent(board.chance)}), seeds: {seeds}; worst: right under every attack that was run; "
        f"PGD-{LONGEST_PGD}: any-iterate; 95 % intervals ({kinds or 'none'})."
    )
    if exhibits.is_of_thesis_data:
        text += (
            " Published: one column of the thesis that mixes two protocols, neither of them ours. A difference across "
            "protocols is an error of neither side, and no effect of a method: it is shown, and not comparable."
        )
    return text


def _compared(board: Board) -> dict[str, str]:
    """The outcomes of the comparison: worst, and the matrix' attack with as many steps as the thesis', any-iterate.

    "" for an attack that was not run.
    """
    usual = board.attacks.get(board.robust_matrix or "")
    stored = {name for row in board.rows for name in row.measures.matrices}
    alike = [a for a in board.attacks.values() if usual and a.apart_from("steps") == usual.apart_from("steps")]
    long = next((strongest(attack, stored) for attack in alike if attack.steps == LONGEST_PGD), "")
    return {WORST: WORST, f"PGD-{LONGEST_PGD}": long}


def _protocols(exhibits: Exhibits, method: str, accuracy: float, attack: str) -> str:
    """In what a published value was measured otherwise than ours, in words."""
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
            *([_BESIDES[method]] if method in _BESIDES else []),
        ]
        there = len(exhibits.published.logs)
        words += [f"{there} tasks instead of {board.tasks}"] if there != board.tasks else []
    printed = re.search(r"eps=(\d+/\d+)", attack)
    if printed and fraction(printed[1]) != board.eps:
        words.append(f"eps {printed[1]} instead of {over_255(board.eps)}")
    return "; ".join(words)
