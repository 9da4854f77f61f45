"""Tables of the published boards that the README and `docs/results.md` quote.

`python -m reports.page.quoted` makes them anew from `results/published/`; the words around them stay.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import nan
from pathlib import Path

import numpy as np
import pandas as pd

from reports.boards.board import Board, Row
from reports.boards.building import build_boards
from reports.tables.attacks import quality_for_reading
from reports.tables.capacity import decisions_table
from reports.tables.leaderboard import compact_table
from reports.tables.words import percent
from results import load

README, RESULTS = "README.md", "docs/results.md"
AUTOATTACK = "AutoAttack, schedule stretched"
STRONG = {
    "PGD-10": "pgd-10 linf 8/255 a=2/255 any",
    "PGD-40": "pgd-40 linf 8/255 a=2/255 any",
    "PGD-40, 5 restarts": "pgd-40 linf 8/255 a=2/255 r=5 any",
    "PGD-40, margin": "pgd-40 linf 8/255 a=2/255 loss=margin any",
    AUTOATTACK: "autoattack linf 8/255 schedule=stretched",
    "L2 128/255, PGD-40": "pgd-40 l2 128/255 a=32/255 any",
    "transfer from single_task_standard": "transfer from=single_task_standard pgd-40 linf 8/255 a=2/255",
    "from single_task_at": "transfer from=single_task_at pgd-40 linf 8/255 a=2/255",
    "from its own past": "transfer from=earlier pgd-40 linf 8/255 a=2/255",
}
"""Columns of the table of strong attacks, and the stored names of their attacks."""


@dataclass(frozen=True)
class Quote:
    """A table that a page quotes: the first one below a heading.

    page: its path in the repository.
    heading: the whole line.
    preset: that the board is of.
    table: all columns that there are; the page shows those that its heading line names.
    """

    page: str
    heading: str
    preset: str
    table: Callable[[Board], pd.DataFrame]


def strong_attacks(board: Board) -> pd.DataFrame:
    """ACC of every ranked row under the strong attacks, in percent, over the images that AutoAttack covers."""
    lines = []
    for row in board.ranked:
        shown = {column: _on_the_same_images(row, attack) for column, attack in STRONG.items()}
        lines.append({"label": row.label} | {column: percent(value) for column, value in shown.items()})
    return pd.DataFrame(lines)


def _on_the_same_images(row: Row, attack: str) -> float:
    """Accuracy under the attack on AutoAttack's images, mean over seeds and tasks; NaN where it was not run."""
    attacked, outcomes = row.outcomes_under(STRONG[AUTOATTACK]), row.outcomes_under(attack)
    accuracies = [
        correct[np.isin(samples, images)].mean() if len(samples) else nan
        for seed, of_tasks in outcomes.samples.items()
        for samples, correct, images in zip(of_tasks, outcomes.correct[seed], attacked.samples[seed], strict=True)
    ]
    return float(np.mean(accuracies))


QUOTES = (
    Quote(README, "## CIFAR-100", "cifar100-20-cpu", compact_table),
    Quote(RESULTS, "## CIFAR-100 without a GPU: `cifar100-cpu`", "cifar100-cpu", compact_table),
    Quote(RESULTS, "### The strong attacks", "cifar100-cpu", strong_attacks),
    Quote(RESULTS, "### Attack quality", "cifar100-cpu", quality_for_reading),
    Quote(RESULTS, "### What PackNet and CMAT decided", "cifar100-cpu", decisions_table),
    Quote(RESULTS, "## All twenty superclasses without a GPU: `cifar100-20-cpu`", "cifar100-20-cpu", compact_table),
    Quote(RESULTS, "## Photographs without a GPU: `fine-grained-cpu`", "fine-grained-cpu", compact_table),
    Quote(RESULTS, "## Fashion-MNIST, task by task: `fashion`", "fashion", compact_table),
    Quote(RESULTS, "## Fashion-MNIST, no task told: `fashion-class`", "fashion-class", compact_table),
)


def with_quotes(text: str, quotes: Iterable[Quote], boards: Mapping[str, Board]) -> str:
    """The text of a page with its quoted tables made anew.

    boards: by preset. Raises ValueError if a heading, its table or a column of it is not there.
    """
    for quote in quotes:
        text = _with_table(text, quote, quote.table(boards[quote.preset]))
    return text


def _with_table(text: str, quote: Quote, frame: pd.DataFrame) -> str:
    marks = quote.heading.split(" ")[0]
    found = re.search(
        rf"^{re.escape(quote.heading)}\n(?:(?!#{{1,{len(marks)}}} |\|).*\n)*?"
        r"(?P<header>\|.*\|)\n\|[-:|]+\|\n(?P<body>(?:\|.*\|\n)*)",
        text,
        re.MULTILINE,
    )
    if found is None:
        raise ValueError(f"{quote.page}: no table below {quote.heading!r}")
    columns = [cell.strip() for cell in found["header"].strip("|").split("|")]
    if unknown := [column for column in columns if column not in frame]:
        raise ValueError(f"{quote.page}: no such column below {quote.heading!r}: {unknown[0]}")
    body = "".join(f"| {' | '.join(map(str, row))} |\n" for row in frame[columns].to_numpy())
    return text[: found.start("body")] + body + text[found.end("body") :]


def published_boards(folder: Path) -> dict[str, Board]:
    """The boards that the pages quote, by preset; folder: `results/published`."""
    presets = sorted({quote.preset for quote in QUOTES})
    return {preset: board for preset in presets for board in build_boards(load(folder / preset, None))}


if __name__ == "__main__":
    from results.files import write_text

    root = Path(__file__).parents[2]
    boards = published_boards(root / "results" / "published")
    for name in (README, RESULTS):
        text = (root / name).read_text(encoding="utf-8")
        write_text(root / name, with_quotes(text, [quote for quote in QUOTES if quote.page == name], boards))
