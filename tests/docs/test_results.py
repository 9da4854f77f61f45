"""docs/results.md and the README quote the tables that the published records give, number for number."""

from __future__ import annotations

import pandas as pd
import pytest

from reports.boards.board import Board
from reports.frames import Tables
from reports.tables.attacks import quality_for_reading
from reports.tables.capacity import decisions_table
from reports.tables.leaderboard import compact_table
from results import load
from results.version import PUBLISHED
from tests.docs.pages import PAGES, README, section, tables

(RESULTS,) = [page for page in PAGES if page.name == "results.md"]
CIFAR100 = "## CIFAR-100 without a GPU: `cifar100-cpu`"
STRETCHED = "AutoAttack, schedule stretched"
STRONG = {
    "PGD-10": "pgd-10 linf 8/255 a=2/255 any",
    "PGD-40": "pgd-40 linf 8/255 a=2/255 any",
    "PGD-40, 5 restarts": "pgd-40 linf 8/255 a=2/255 r=5 any",
    "PGD-40, margin": "pgd-40 linf 8/255 a=2/255 loss=margin any",
    STRETCHED: "autoattack linf 8/255 schedule=stretched",
    "L2 128/255, PGD-40": "pgd-40 l2 128/255 a=32/255 any",
    "transfer from single_task_standard": "transfer from=single_task_standard pgd-40 linf 8/255 a=2/255",
    "from single_task_at": "transfer from=single_task_at pgd-40 linf 8/255 a=2/255",
    "from its own past": "transfer from=earlier pgd-40 linf 8/255 a=2/255",
}
"""Columns of the table of strong attacks, and the stored names of their attacks."""


@pytest.fixture(scope="module")
def published() -> Tables:
    return Tables(load(PUBLISHED / "none", PUBLISHED))


@pytest.fixture(scope="module")
def board(published: Tables) -> Board:
    (found,) = [board for board in published.boards if board.preset == "cifar100-cpu"]
    return found


def rows_of(frame: pd.DataFrame) -> list[list[str]]:
    """The frame as a page writes it; a page says once that all rows are published, and not with a mark on each."""
    return [list(frame.columns), *([str(cell).removesuffix(" †") for cell in row] for row in frame.to_numpy())]


def columns_of(rows: list[list[str]], names: list[str]) -> list[list[str]]:
    places = [rows[0].index(name) for name in names]
    return [[row[place] for place in places] for row in rows]


def test_the_leaderboard_is_that_of_the_records(board: Board) -> None:
    assert tables(section(RESULTS, CIFAR100))[0] == rows_of(compact_table(board))


@pytest.mark.parametrize(
    ("preset", "heading"),
    [
        ("fashion", "## Fashion-MNIST, task by task: `fashion`"),
        ("fashion-class", "## Fashion-MNIST, no task told: `fashion-class`"),
        ("fine-grained-cpu", "## Photographs without a GPU: `fine-grained-cpu`"),
    ],
)
def test_the_other_leaderboards_quote_columns_of_theirs(published: Tables, preset: str, heading: str) -> None:
    (quoted,) = tables(section(RESULTS, heading))
    (of_records,) = [board for board in published.boards if board.preset == preset]
    assert {"rank", "label", "verdict", "ACC worst", "ACC clean", "F clean", "MB"} <= set(quoted[0])
    assert quoted == columns_of(rows_of(compact_table(of_records)), quoted[0])


def test_the_readme_quotes_some_columns_of_it(board: Board) -> None:
    (quoted,) = tables(section(README, "## CIFAR-100"))
    assert {"rank", "label", "verdict", "ACC worst", "ACC clean"} <= set(quoted[0])
    assert quoted == columns_of(rows_of(compact_table(board)), quoted[0])


def test_the_strong_attacks_are_those_of_the_records(published: Tables) -> None:
    (quoted,) = tables(section(RESULTS, "### The strong attacks"))
    assert quoted[0] == ["label", *STRONG]
    for label, *shown in quoted[1:]:
        rows = published.predictions(label, "cifar100-cpu")
        last = rows[rows["after_task"] == rows["after_task"].max()]
        attacked = last[last["attack"] == STRONG[STRETCHED]].set_index(["task", "sample"]).index
        for attack, number in zip(STRONG.values(), shown, strict=True):
            assert number == accuracy(last, attack, attacked), f"{label} under {attack}"


def test_the_quality_of_attacks_is_that_of_the_records(board: Board) -> None:
    (quoted,) = tables(section(RESULTS, "### Attack quality"))
    assert {"optimality", "at 8/255", "lowest"} < set(quoted[0])
    assert quoted == columns_of(rows_of(quality_for_reading(board)), quoted[0])


def accuracy(rows: pd.DataFrame, attack: str, images: pd.MultiIndex) -> str:
    """Mean over tasks of the accuracy on these images under the attack; `–` where it was not run."""
    found = rows[rows["attack"] == attack].set_index(["task", "sample"])
    if found.empty:
        return "–"
    on_images = found.loc[found.index.isin(images)]
    right = (on_images["label"] == on_images["predicted"]).groupby("task").mean()
    return f"{100 * right.mean():.1f}"


def test_the_decisions_are_those_of_the_records(board: Board) -> None:
    (quoted,) = tables(section(RESULTS, "### What PackNet and CMAT decided"))
    assert quoted == columns_of(rows_of(decisions_table(board)), quoted[0])
