"""The leaderboard as Markdown: a section per preset, tables as GitHub renders them."""

from __future__ import annotations

import re

import pandas as pd

from reports.boards.board import Board
from reports.boards.version import published_note
from reports.numbers.labels import visible
from reports.tables.attacks import quality_caption, quality_for_reading
from reports.tables.capacity import decisions_caption, decisions_table
from reports.tables.leaderboard import accuracy_table, below_table, caption, compact_table
from reports.tables.training import recipes_table

WORDS = (
    "label", "verdict", "reason", "task", "never changed since", "recipe differs in", "source",
    "published as", "protocols differ in", "attacks, best first", "over eps", "of row", "claim", "under", "answer",
)  # fmt: skip
"""Columns of words. They are aligned to the left, and escaped."""


def leaderboard_markdown(boards: list[Board], empty: str) -> str:
    """All boards as GitHub tables; empty: the text if there is no board."""
    parts = ["# Leaderboard"]
    if not boards:
        parts.append(empty)
    for board in boards:
        parts.append(f"## {markdown_text(board.preset)}")
        if board.ranked:
            about = " ".join(filter(None, [caption(board), published_note([board])]))
            parts += [markdown_text(about), markdown_table(compact_table(board))]
            every = f"every attack that was run is in tables/{board.stem}__sweep.csv"
            parts += [markdown_text(f"ACC in percent by attack; {every}:"), markdown_table(accuracy_table(board))]
            quality = quality_for_reading(board)
            if len(quality):
                parts += ["### Attack quality", markdown_text(quality_caption(board)), markdown_table(quality)]
        else:
            parts.append("No row is ranked yet.")
        if board.below:
            parts += ["Below the line:", markdown_table(below_table(board))]
        recipes = recipes_table(board)
        if len(recipes):
            parts += ["### Recipes of their own", markdown_table(recipes)]
        decided = decisions_table(board)
        if len(decided):
            parts += ["### Capacity and decisions", markdown_text(decisions_caption(board)), markdown_table(decided)]
    return "\n\n".join(parts) + "\n"


def replaced_between(page: str, begin: str, end: str, middle: str, name: str) -> str:
    """The page with `middle` between the two marks.

    name: of that part. Raises ValueError if the page lacks a mark.
    """
    before, has_begin, rest = page.partition(begin)
    _, has_end, after = rest.partition(end)
    if not has_begin or not has_end:
        raise ValueError(f"no place for {name}: expected {begin} and {end}")
    return f"{before}{begin}\n\n{middle}\n\n{end}{after}"


def markdown_text(text: str) -> str:
    """The text in one line with all markup escaped. A pipe is, because it would end a cell of a table even in code."""
    return re.sub(r"([\\`*_{}\[\]<>#|~$]|&(?=#?\w+;))", r"\\\1", visible(text))


def markdown_table(frame: pd.DataFrame) -> str:
    """The frame as a GitHub table."""
    # Numbers hold no markup; their brackets are easier to read as they are.
    escaped = frame.apply(lambda column: column.map(markdown_text) if column.name in WORDS else column)
    escaped.columns = pd.Index([markdown_text(str(column)) for column in frame.columns])
    alignment = ["left" if column in WORDS else "right" for column in frame.columns]
    return escaped.to_markdown(index=False, disable_numparse=True, colalign=alignment)
