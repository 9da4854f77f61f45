"""Tables that a page quotes are made anew below their headings; everything else of the page stays."""

from __future__ import annotations

import pandas as pd
import pytest

from reports.page.quoted import Quote, with_quotes

PAGE = """# Results

## One

Words, and a heading below another.

| label | ACC |
|:---|---:|
| old | 1.0 |
| older | 2.0 |

More words | with a pipe.

### Its part

| label | F |
|:---|---:|
| old | 3.0 |

## Two

No table here.
"""
FRAME = pd.DataFrame({"ACC": ["4.0", "5.0", "6.0"], "F": ["7.0", "8.0", "9.0"], "label": ["a", "b", "c"]})


def quoted(heading: str, page: str = PAGE) -> str:
    quote = Quote("docs/some.md", heading, "mine", lambda board: FRAME)
    return with_quotes(page, [quote], {"mine": None})  # type: ignore[dict-item]


def test_the_page_says_which_columns_it_shows_and_in_which_order():
    assert quoted("## One") == PAGE.replace("| old | 1.0 |\n| older | 2.0 |", "| a | 4.0 |\n| b | 5.0 |\n| c | 6.0 |")


def test_the_table_of_a_part_is_not_that_of_the_whole():
    assert quoted("### Its part") == PAGE.replace("| old | 3.0 |", "| a | 7.0 |\n| b | 8.0 |\n| c | 9.0 |")


def test_what_was_made_is_made_again():
    once = quoted("## One")
    assert quoted("## One", once) == once


def test_a_table_without_a_line_gets_its_lines():
    empty = PAGE.replace("| old | 3.0 |\n", "")
    assert quoted("### Its part", empty) == quoted("### Its part")


@pytest.mark.parametrize("heading", ["## Two", "## Three"])
def test_a_page_without_the_table_is_refused(heading):
    with pytest.raises(ValueError, match=rf"docs/some\.md: no table below '{heading}'"):
        quoted(heading)


def test_a_column_that_there_is_not_is_named():
    with pytest.raises(ValueError, match=r"docs/some\.md: no such column below '## One': seconds"):
        quoted("## One", PAGE.replace("| label | ACC |", "| label | seconds |"))
