"""The leaderboard of the page: columns, rows, and accuracies under every attack for the page's script."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reports.boards.board import Board, Row
from reports.boards.sweeps import worsts
from reports.checks.check import ORDER
from reports.numbers.attack_facts import SUBMITTED
from reports.numbers.metrics import CLEAN, WORST
from reports.numbers.wording import over_255
from reports.tables.entries import entry_names
from reports.tables.words import NOT_AVAILABLE, amount, label_of, percent, percent_with_interval, short_name
from results.schema import ANY

ASCENDING, DESCENDING = "ascending", "descending"
NO_RANK = "–"


@dataclass(frozen=True)
class Column:
    """A column of the page's leaderboard.

    key: the same on all boards, so that a reader can sort all of them at once.
    first: the order at the first click.
    """

    key: str
    title: str
    first: str = DESCENDING


@dataclass(frozen=True)
class PageCell:
    """A cell of the page's leaderboard.

    text: its words.
    value: the text that the column is sorted by; empty cells come last.
    beside: smaller words behind the text.
    """

    text: str
    value: str
    beside: str = ""


@dataclass(frozen=True)
class PageRow:
    """A row of the page's leaderboard.

    name: of its entry.
    entry: the JSON of `rows/`, with everything else about the row.
    cells: by the key of their column.
    bar: where the interval bar lies, in percent of its length; None without an accuracy.
    """

    row: Row
    name: str
    label: str
    entry: Mapping[str, Any]
    cells: Mapping[str, PageCell]
    is_tied: bool
    bar: Mapping[str, str] | None


@dataclass(frozen=True)
class PageBoard:
    """A board as the page shows it; top: the end of the scale of the interval bars, in percent."""

    board: Board
    columns: Sequence[Column]
    rows: Sequence[PageRow]
    top: int

    @property
    def scenario(self) -> str:
        return str(self.rows[0].entry["scenario"])

    @property
    def tie_note(self) -> str:
        """The meaning of shared ranks on this board; empty without ties."""
        if not any(row.is_tied for row in self.rows):
            return ""
        ranks = {row.label: row.rank for row in self.board.ranked}
        told_apart = any(pair.better and ranks[pair.first] == ranks[pair.second] for pair in self.board.comparisons)
        # Two rows that can be told apart may share a rank, if equally many others are better than either.
        return (
            "equally many rows are significantly better; the details say which rows can be told apart"
            if told_apart
            else "rows that share a rank cannot be told apart, which is no sign that they are equal"
        )


def page_board(board: Board, entries: Mapping[str, Mapping[str, Any]]) -> PageBoard:
    """Prepare a board for the page; entries: by name."""
    columns = _columns(board)
    ranks = [row.rank for row in board.ranked]
    top = _top(board)
    rows = []
    for row, name in zip(board.rows, entry_names(board), strict=True):
        is_tied = row.is_ranked and ranks.count(row.rank) > 1
        cells = {column.key: _cell(board, row, column.key, is_tied) for column in columns}
        rows.append(PageRow(row, name, label_of(row), entries[name], cells, is_tied, _bar(board, row, top)))
    return PageBoard(board, columns, rows, top)


def _columns(board: Board) -> list[Column]:
    robust = board.robust_matrix
    under = short_name(robust, board) if robust else ""
    found = [
        Column("rank", "rank", ASCENDING),
        Column("label", "label", ASCENDING),
        Column("seeds", "seeds"),
        Column("verdict", "verdict", ASCENDING),
        Column("worst", "ACC worst"),
        Column("clean", "ACC clean"),
        Column("robust", f"ACC {under}"),
        Column("f_clean", "F clean", ASCENDING),
        Column("f_robust", f"F {under}", ASCENDING),
        Column("train", "train s", ASCENDING),
        Column("mb", "MB", ASCENDING),
    ]
    return [column for column in found if robust or column.key not in ("robust", "f_robust")]


def _cell(board: Board, row: Row, key: str, is_tied: bool) -> PageCell:
    if key == "rank":
        return PageCell(f"{row.rank}{'=' if is_tied else ''}" if row.is_ranked else NO_RANK, str(row.rank or ""))
    if key == "label":
        return PageCell(label_of(row), row.label)
    if key == "seeds":
        return PageCell(str(len(row.seeds)), str(len(row.seeds)))
    if key == "verdict":
        return _verdict(row)
    if key in ("train", "mb"):
        value = row.measures.value({"train": "train_seconds", "mb": "stored_mb"}[key])
        return PageCell(amount(value), _sortable(value))
    attack = {"worst": WORST, "clean": CLEAN, "f_clean": CLEAN}.get(key, board.robust_matrix)
    column = f"{'F_chaudhry2018' if key.startswith('f_') else 'ACC_lopezpaz2017'} {attack}"
    text, _, bounds = percent_with_interval(row, column).partition(" ")
    return PageCell(text, _sortable(row.measures.value(column)), bounds)


def _verdict(row: Row) -> PageCell:
    """The verdict, sorted from pass to fail and then by the number of passed checks; rows that are set aside come last."""
    checks = row.checks
    severity = {status: place for place, status in enumerate(ORDER[1:])}.get(row.verdict, len(ORDER))
    passed = f"{checks['pass']}/{sum(checks.values())}"
    return PageCell(row.verdict.replace("_", " "), str(1000 * severity - checks["pass"]), passed)


def _sortable(value: float) -> str:
    return f"{value:.6g}" if math.isfinite(value) else ""


def _top(board: Board) -> int:
    """The smallest multiple of ten percent above all intervals of ACC of `worst`."""
    column = f"ACC_lopezpaz2017 {WORST}"
    found = [v for row in board.rows for v in (row.acc, row.measures.bounds(column).high) if math.isfinite(v)]
    return min(100, 10 * math.ceil(10 * max(found, default=1.0) - 1e-9)) or 10


def _bar(board: Board, row: Row, top: int) -> Mapping[str, str] | None:
    """The places of interval, value and chance on the scale of the bars, in percent of its length."""
    bounds = row.measures.bounds(f"ACC_lopezpaz2017 {WORST}")
    if not math.isfinite(row.acc):
        return None
    low, high = (bounds.low, bounds.high) if math.isfinite(bounds.low) else (row.acc, row.acc)

    def place(value: float) -> str:
        return f"{min(100.0, max(0.0, 1e4 * value / top)):.1f}" if math.isfinite(value) else "-10"

    return {"low": place(low), "high": place(high), "at": place(row.acc), "chance": place(board.chance)}


# -- for the page's script --------------------------------------------------------------------------------------------


def attack_groups(boards: Sequence[PageBoard]) -> dict[str, list[str]]:
    """The stored attacks of all boards by norm and eps, any-iterate included, in each board's order."""
    groups: dict[str, dict[str, None]] = defaultdict(dict)
    for each in boards:
        for name in _attack_columns(each.board):
            attack = each.board.attacks.get(name.removesuffix(ANY))
            threat = worsts(each.board).get(name)
            norm, eps = (attack.norm, attack.eps) if attack else threat or ("", None)
            groups["no attack" if name == CLEAN else f"{norm} {over_255(eps)}"].setdefault(name)
    return {threat: list(names) for threat, names in groups.items()}


def accuracies(board: PageBoard) -> dict[str, Any]:
    """The data of a board for the page's script, by attack: short `names`, and `cells`, (value, low, high) in percent per row."""
    attacks = _attack_columns(board.board)
    return {
        "names": {attack: short_name(attack, board.board) for attack in attacks},
        "cells": {attack: [_rounded(row.row, attack) for row in board.rows] for attack in attacks},
    }


def _attack_columns(board: Board) -> list[str]:
    """The outcomes that some row has, `worst` and `clean` first. Images that were submitted for one row make no column."""
    stored = {name for row in board.rows for name in row.measures.matrices}
    named = [
        name for attack in board.attacks.values() if attack.kind != SUBMITTED for name in (attack.name, attack.any)
    ]
    return [name for name in dict.fromkeys([*worsts(board), CLEAN, *named]) if name in stored]


def _rounded(row: Row, attack: str) -> list[float] | None:
    column = f"ACC_lopezpaz2017 {attack}"
    value, bounds = row.measures.value(column), row.measures.bounds(column)
    found = [value, bounds.low, bounds.high] if math.isfinite(bounds.low) else [value]
    return [float(percent(each)) for each in found] if math.isfinite(value) else None


def in_percent(value: float | None) -> str:
    """`percent` of a value of an entry, in which null stands for NaN."""
    return NOT_AVAILABLE if value is None else percent(value)
