"""docs/results.md and the README quote the tables that the published records give, number for number."""

from __future__ import annotations

import pandas as pd
import pytest

from reports.boards.board import Board
from reports.frames import Tables
from reports.page.quoted import AUTOATTACK, QUOTES, README, RESULTS, STRONG, published_boards, with_quotes
from results import load
from results.version import PUBLISHED
from tests.conftest import REPOSITORY
from tests.docs.pages import read, section, tables

STRONG_ATTACKS = "### The strong attacks"


@pytest.fixture(scope="module")
def boards() -> dict[str, Board]:
    return published_boards(PUBLISHED)


@pytest.mark.parametrize("page", [README, RESULTS])
def test_quoted_tables_are_those_of_the_records(boards: dict[str, Board], page: str) -> None:
    text = read(REPOSITORY / page)
    made = with_quotes(text, [quote for quote in QUOTES if quote.page == page], boards)
    assert text == made, "run `python -m reports.page.quoted`"


@pytest.mark.parametrize(
    "quote",
    [quote for quote in QUOTES if quote.heading.startswith("## ")],
    ids=lambda quote: f"{quote.page} {quote.preset}",
)
def test_a_quoted_leaderboard_shows_what_a_reader_must_know(quote) -> None:
    (quoted,) = tables(section(REPOSITORY / quote.page, quote.heading).partition("\n### ")[0])
    assert {"rank", "label", "verdict", "ACC worst", "ACC clean", "MB"} <= set(quoted[0])


def test_the_strong_attacks_are_those_of_the_predictions() -> None:
    """Counted image by image, past the outcomes that the board is made of."""
    published = Tables(load(PUBLISHED / "cifar100-cpu", None))
    (quoted,) = tables(section(REPOSITORY / RESULTS, STRONG_ATTACKS))
    assert quoted[0] == ["label", *STRONG]
    for label, *shown in quoted[1:]:
        rows = published.predictions(label, "cifar100-cpu")
        last = rows[rows["after_task"] == rows["after_task"].max()]
        attacked = last[last["attack"] == STRONG[AUTOATTACK]].set_index(["task", "sample"]).index
        for attack, number in zip(STRONG.values(), shown, strict=True):
            assert number == accuracy(last, attack, attacked), f"{label} under {attack}"


def accuracy(rows: pd.DataFrame, attack: str, images: pd.MultiIndex) -> str:
    """Mean over tasks of the accuracy on these images under the attack; `n/a` where it was not run."""
    found = rows[rows["attack"] == attack].set_index(["task", "sample"])
    if found.empty:
        return "n/a"
    on_images = found.loc[found.index.isin(images)]
    right = (on_images["label"] == on_images["predicted"]).groupby("task").mean()
    return f"{100 * right.mean():.1f}"
