"""The leaderboard as tables: a wide one with every number, and compact ones to read."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from reports.boards.board import Board, Row
from reports.boards.measures import COST_COLUMNS
from reports.boards.sweeps import ranking_of, worsts
from reports.boards.version import version_of
from reports.numbers.attack_facts import TRANSFER
from reports.numbers.metrics import CLEAN, MATRIX_METRICS, WORST
from reports.numbers.wording import over_255
from reports.tables.precisions import precision_words
from reports.tables.words import (
    NOT_AVAILABLE,
    amount,
    label_of,
    percent,
    percent_with_interval,
    short_name,
    verdict_of,
)
from results.schema import ANY

MOST_READABLE = 24
"""Attacks that a table for reading has columns for, at most."""
FIRST_COLUMNS = ("rank", "label", "method", "seeds", "verdict")
CHECK_COUNTS = ("checks_pass", "checks_warn", "checks_fail", "checks_not_run")
LAST_COLUMNS = ("interval", "seed_values", "published", "extra_data", "row", *CHECK_COUNTS, "reason", "leaderboard")


def columns(board: Board) -> list[str]:
    """The numeric columns of a board, in order. Each has the name of its formula and of its attack."""
    matrix = [name for name in _with_any(board, board.matrix) if name != WORST]
    others = [name for name in _with_any(board, _attacks(board)) if name != CLEAN]
    other_worsts = [name for name in worsts(board) if name != WORST]
    found = []
    for attack in (WORST, CLEAN, *other_worsts, *others):
        found += _with_interval(f"ACC_lopezpaz2017 {attack}")
    for attack in matrix:
        for metric in MATRIX_METRICS:
            found += _with_interval(f"{metric} {attack}")
        found += [f"I_joint {attack}", f"I_single_task {attack}"]
        found += [] if attack == CLEAN else [f"gap {attack}", *_with_interval(f"excess_F {attack}")]
    found += [f"gap {attack}" for attack in (WORST, *other_worsts, *others) if attack not in matrix]
    found += [
        f"macro_{score} {attack}" for attack in (CLEAN, WORST, *others) for score in ("precision", "recall", "F1")
    ]
    return list(dict.fromkeys([*found, f"samples {WORST}", *COST_COLUMNS]))


def _with_interval(column: str) -> list[str]:
    return [column, f"{column} low", f"{column} high"]


def _attacks(board: Board) -> list[str]:
    """The attacks that are demanded of every row, then the transfers, which only some rows have."""
    return [*board.demanded, *(name for name, attack in board.attacks.items() if attack.kind == TRANSFER)]


def _with_any(board: Board, attacks: Sequence[str]) -> list[str]:
    """The attacks, each followed by its any-iterate outcome if a row has it."""
    stored = {name for row in board.rows for name in row.measures.matrices}
    return [name for attack in attacks for name in (attack, attack + ANY) if name == attack or name in stored]


def wide_table(boards: Sequence[Board]) -> pd.DataFrame:
    """Every row of every board with every number, as fractions; NaN for missing numbers.

    Column `leaderboard`: the version that a published row is from; None for others.
    """
    numeric = list(dict.fromkeys(column for board in boards for column in columns(board)))
    version = version_of(boards)
    records = [
        {**_record(board, row, numeric), "leaderboard": version if row.published else None}
        for board in boards
        for row in board.rows
    ]
    return pd.DataFrame(records, columns=[*FIRST_COLUMNS, "preset", *numeric, *LAST_COLUMNS])


def _record(board: Board, row: Row, numeric: Sequence[str]) -> dict[str, object]:
    values: dict[str, float] = dict(row.measures.values)
    for column, interval in row.measures.intervals.items():
        values[f"{column} low"], values[f"{column} high"] = interval.low, interval.high
    return {
        "rank": "" if row.rank is None else row.rank,
        "label": row.label,
        "method": row.method,
        "seeds": len(row.seeds),
        "verdict": row.verdict,
        "preset": board.preset,
        **{column: values.get(column, float("nan")) for column in numeric},
        "interval": row.measures.interval,
        "seed_values": " ".join(str(seed) for seed in row.seed_values),
        "published": row.published,
        "extra_data": row.protocol.extra_data,
        "row": row.identity,
        **{f"checks_{status}": count for status, count in row.checks.items()},
        "reason": row.reason,
    }


# -- for people -------------------------------------------------------------------------------------------------------


def compact_table(board: Board) -> pd.DataFrame:
    """Ranked rows for reading: percent with one decimal and intervals, as text."""
    robust = board.robust_matrix
    records = []
    for row in board.ranked:
        record = {
            "rank": str(row.rank),
            "label": label_of(row),
            "seeds": str(len(row.seeds)),
            "verdict": verdict_of(row),
            "ACC worst": percent_with_interval(row, f"ACC_lopezpaz2017 {WORST}"),
            "ACC clean": percent_with_interval(row, f"ACC_lopezpaz2017 {CLEAN}"),
        }
        if robust:
            record[f"ACC {short_name(robust, board)}"] = percent_with_interval(row, f"ACC_lopezpaz2017 {robust}")
        record["F clean"] = percent_with_interval(row, f"F_chaudhry2018 {CLEAN}")
        if robust:
            record[f"F {short_name(robust, board)}"] = percent_with_interval(row, f"F_chaudhry2018 {robust}")
        record["train s"] = amount(row.measures.value("train_seconds"))
        record["MB"] = amount(row.measures.value("stored_mb"))
        records.append(record)
    return pd.DataFrame(records)


def below_table(board: Board) -> pd.DataFrame:
    """Rows below the line, with the reason."""
    return pd.DataFrame(
        [
            {
                "label": label_of(row),
                "seeds": str(len(row.seeds)),
                "verdict": row.verdict,
                "ACC worst": percent(row.acc),
                "ACC clean": percent(row.measures.value(f"ACC_lopezpaz2017 {CLEAN}")),
                "reason": row.reason,
            }
            for row in board.below
        ]
    )


def accuracy_table(board: Board) -> pd.DataFrame:
    """ACC of ranked rows in percent, as text, under every attack that was run.

    If these are more than `MOST_READABLE`, only those at the ranking's norm and eps are there, and `worst` for the others; if
    they are still too many, any-iterate outcomes replace the final ones.
    """
    stored = {name for row in board.ranked for name in row.measures.matrices}
    attacks = [a for a in (CLEAN, *_with_any(board, _attacks(board))) if a in stored]
    if len(attacks) > MOST_READABLE:
        here = {name for a in board.attacks.values() if a.threat == ranking_of(board) for name in (a.name, a.any)}
        attacks = [a for a in attacks if a in here or a == CLEAN]
    if len(attacks) > MOST_READABLE:
        attacks = [a for a in attacks if a + ANY not in stored]
    others = [name for name in worsts(board) if name != WORST]
    return pd.DataFrame(
        [
            {
                "label": label_of(row),
                **{
                    short_name(attack, board): percent(row.measures.value(f"ACC_lopezpaz2017 {attack}"))
                    for attack in (*dict.fromkeys(attacks), *others, WORST)
                },
            }
            for row in board.ranked
        ]
    )


def caption(board: Board) -> str:
    """The words under the table: data, intervals and rank."""
    kinds = sorted({row.measures.interval for row in board.ranked})
    samples = sorted({int(row.measures.value(f"samples {WORST}")) for row in board.ranked})
    over = f" over {' or '.join(f'{n:,}' for n in samples)} test images" if samples else ""
    precision = precision_words([seed.evidence for row in board.ranked for seed in row.seeds])
    return (
        f"Percent after {board.tasks} tasks, worst at eps {over_255(board.eps) or NOT_AVAILABLE}{over}; intervals: 95 %"
        + (f" ({'; '.join(kinds)})" if kinds else "")
        + f"; {board.question}, chance {percent(board.chance)}. Rank: 1 + number of methods significantly better. "
        + "F: forgetting, lower is better. Verdict: checks passed, of all; the others warned or were not run."
        + (f" {precision}" if precision else "")
    )
