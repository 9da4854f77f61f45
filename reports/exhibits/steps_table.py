"""The thesis' bar chart as tables: ours, the published values, and the differences.

Numbers for files are fractions; tables for reading are text in percent.
"""

from __future__ import annotations

import pandas as pd

from reports.exhibits.exhibits import Exhibits, trained_eps
from reports.numbers.wording import counted, in_eps, over_255
from reports.tables.words import NOT_AVAILABLE, label_of, percent


def steps_table(exhibits: Exhibits) -> pd.DataFrame:
    """A line per bar: ours with its interval, the published value, and the difference; NaN for missing numbers."""
    records = []
    for group in exhibits.groups:
        row, trained = group.row, trained_eps(group.row)
        place = {"label": row.label if row else "", "method": group.method, "row": row.short_identity if row else ""}
        place |= {"trained_eps": str(trained or ""), "eps": str(group.eps), "published_as": group.printed}
        samples = exhibits.samples(row) if row and group.has_ours else 0
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
    """A line per group of bars: ours in percent with intervals, each beside the published value."""
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
    """The words over the bars."""
    rows = {id(group.row): group.row for group in exhibits.groups if group.row is not None and group.has_ours}
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
        return f"{text} The thesis has no such chart of these data, so nothing is published to stand beside it."
    text += (
        " Published: as in the thesis, whose networks were trained at the eps of their attack, on "
        f"{len(exhibits.published.logs)} tasks, with eps and clamp on normalised images; not comparable, shown side by side."
    )
    misprinted = [
        f"'{group.printed}' is a typo for eps={group.eps}" for group in exhibits.groups if group.is_misprinted
    ]
    return " ".join([text, *(f"In print {words}." for words in misprinted)])
