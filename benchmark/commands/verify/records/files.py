"""The files of a run's tables: every one can be read, and is named by what it holds. Nothing in them is trusted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from benchmark.commands.verify.findings import Finding, Problems
from reports.numbers.wording import counted
from results import schema
from results.parts import parts_of, read_parts
from results.records import Run

MAY_LACK = {
    *("step_size", "restarts", "loss", "trace"),  # of attacks that have none
    *("value", "text"),  # a fact has one of the two
    *schema.YOUNGER,  # of records of older versions
    *(column.name for column in schema.TRAINING if column.type == "double" or column.name == "selected"),
}
"""Columns in which a value may be missing."""
WHOLE = "all"
"""The name of the one part that a published table is stored in."""
PART_NAME = re.compile(r"(?P<identifier>[0-9a-f]{64})\.(?P<turn>\d{3,})\.(?P<first>\d{5,})")
"""The name of a part: evaluation id, turn, first sample."""
EVALUATED = ["evaluation_id", "after_task", "task"]
"""Columns that say which evaluation a row is of, and of which cell."""


@dataclass(frozen=True)
class Records:
    """The stored tables of a run. All but `tasks` have one more column, `part`: the name of the file that holds the row."""

    run: Run
    tasks: pd.DataFrame
    predictions: pd.DataFrame
    evaluations: pd.DataFrame
    facts: pd.DataFrame
    training: pd.DataFrame


def place_of(evaluation: Mapping[str, Any] | pd.Series) -> str:
    """The attack, the task and the turn of an evaluation's row, in words."""
    return f"{evaluation['attack']} on task {evaluation['task']} after task {evaluation['after_task']}"


def read_records(run: Run) -> tuple[Records, Finding]:
    """Read the tables of a run; say which files cannot be read, or hold other things than their name says."""
    problems, tables, count = Problems(), {}, 1
    for name, columns in schema.TABLES.items():
        paths = parts_of(run.directory, name)
        count += len(paths)
        rows = {path.stem: _rows_of(path, columns, problems, f"{name}/{path.name}") for path in paths}
        frames = [_frame(part).assign(part=stem) for stem, part in rows.items() if part is not None]
        tables[name] = pd.concat(frames, ignore_index=True) if frames else _frame(columns.empty_table()).assign(part="")
    tasks = _rows_of(run.directory / "tasks.parquet", schema.TASKS, problems, "tasks.parquet")
    _verify_pairs(tables["predictions"], tables["evaluations"], problems)
    for name in ("predictions", "evaluations"):
        _verify_names(name, tables[name], problems)
    stored = schema.TASKS.empty_table() if tasks is None else tasks
    return Records(run, stored.to_pandas(), **tables), Finding("files", counted(count, "part"), problems.lines())


def _rows_of(path: Path, columns: pa.Schema, problems: Problems, where: str) -> pa.Table | None:
    """The rows of one part. None if it cannot be read, has no rows, or has rows without a value that every row has."""
    rows, unreadable = read_parts([path], columns)
    if unreadable:
        problems.add(unreadable[0].reason, [where])
        return None
    lacking = [column for column in columns.names if column not in MAY_LACK and rows[column].null_count]
    # A task may be learned without an epoch or a fact; every evaluation has a sample.
    if lacking or (not len(rows) and columns not in (schema.FACTS, schema.TRAINING)):
        what = f"no value in {', '.join(lacking)}" if lacking else "no rows"
        problems.add("a part that lacks what every row has", [f"{where} ({what})"])
        return None
    return rows


def _frame(rows: pa.Table) -> pd.DataFrame:
    """The rows with plain strings: dictionary columns differ from part to part."""
    plain = [
        pa.field(column.name, column.type.value_type) if pa.types.is_dictionary(column.type) else column
        for column in rows.schema
    ]
    return rows.cast(pa.schema(plain)).to_pandas()


def _verify_pairs(predictions: pd.DataFrame, evaluations: pd.DataFrame, problems: Problems) -> None:
    """Each part of predictions has its evaluation, and each evaluation its predictions."""
    predicted = set(predictions[["part", *EVALUATED]].itertuples(index=False, name=None))
    evaluated = set(evaluations[["part", *EVALUATED]].itertuples(index=False, name=None))
    problems.add("an evaluation without its predictions", _places(evaluated - predicted))
    problems.add("predictions without their evaluation", _places(predicted - evaluated))


def _places(evaluated: Iterable[tuple[str, str, int, int]]) -> list[str]:
    """Tuples (part, evaluation id, turn, task) in words, in order."""
    return [f"{identifier[:8]} on task {task} after task {turn}" for _, identifier, turn, task in sorted(evaluated)]


def _verify_names(table: str, rows: pd.DataFrame, problems: Problems) -> None:
    """Each part is named by evaluation id, turn and first sample. A published table is one part and has no such name."""
    for part, content in rows[rows["part"] != WHOLE].groupby("part"):
        named = PART_NAME.fullmatch(str(part))
        if named is None:
            problems.add("a part that is named by no evaluation", [f"{table}/{part}.parquet"])
            continue
        held = {(str(i), int(t)) for i, t in zip(content["evaluation_id"], content["after_task"], strict=True)}
        wrong = held != {(named["identifier"], int(named["turn"]))}
        if table == "predictions":
            wrong |= int(content["sample"].min()) != int(named["first"])
        if wrong:
            problems.add("a part that holds other things than its name says", [f"{table}/{part}.parquet"])
