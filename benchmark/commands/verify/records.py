"""The files of a run as they lie there: every part with its name, none of them trusted."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa

from benchmark.commands.verify.findings import Finding, Problems
from reports.numbers.wording import counted
from results import schema
from results.parts import read_parts
from results.records import Run

TABLES = {
    "predictions": schema.PREDICTIONS,
    "evaluations": schema.EVALUATIONS,
    "facts": schema.FACTS,
    "training": schema.TRAINING,
}
MAY_LACK = {
    *("step_size", "restarts", "loss", "trace"),  # of attacks that have none
    *("value", "text"),  # of facts that are the other
    *(column.name for column in schema.TRAINING if column.type == "double" or column.name == "selected"),
}
"""Columns in which a value may be missing."""
WHOLE = "all"
"""The name of the one part that published tables have."""
PART = re.compile(r"(?P<identifier>[0-9a-f]{64})\.(?P<turn>\d{3,})\.(?P<first>\d{5,})")
CELL = ["evaluation_id", "after_task", "task"]


@dataclass(frozen=True)
class Records:
    """The tables of a run, all but the tasks with one more column, `part`: the name of the file a row is from."""

    run: Run
    tasks: pd.DataFrame
    predictions: pd.DataFrame
    evaluations: pd.DataFrame
    facts: pd.DataFrame
    training: pd.DataFrame


def read_records(run: Run) -> tuple[Records, Finding]:
    """The tables of a run, and whether its files are readable and named by what they hold."""
    problems, tables, count = Problems(), {}, 1
    for name, columns in TABLES.items():
        paths = sorted((run.directory / name).glob("*.parquet"))
        count += len(paths)
        rows = {path.stem: _rows(path, columns, problems, f"{name}/{path.name}") for path in paths}
        frames = [_flat(part).assign(part=stem) for stem, part in rows.items() if part is not None]
        tables[name] = pd.concat(frames, ignore_index=True) if frames else _flat(columns.empty_table()).assign(part="")
    tasks = _rows(run.directory / "tasks.parquet", schema.TASKS, problems, "tasks.parquet")
    _pairs(tables["predictions"], tables["evaluations"], problems)
    _names(tables["predictions"], tables["evaluations"], problems)
    stored = schema.TASKS.empty_table() if tasks is None else tasks
    return Records(run, stored.to_pandas(), **tables), Finding("files", counted(count, "part"), problems.lines())


def _rows(path: Path, columns: pa.Schema, problems: Problems, where: str) -> pa.Table | None:
    """The rows of one part; None where it cannot be read, or where its rows do not say what they are."""
    rows, unreadable = read_parts([path], columns)
    if unreadable:
        problems.add(unreadable[0].reason, [where])
        return None
    lacking = [column for column in columns.names if column not in MAY_LACK and rows[column].null_count]
    # A task may be learned without an epoch or a fact; an evaluation without a sample is none.
    if lacking or (not len(rows) and columns not in (schema.FACTS, schema.TRAINING)):
        what = f"no value in {', '.join(lacking)}" if lacking else "no rows"
        problems.add("a part that lacks what every row has", [f"{where} ({what})"])
        return None
    return rows


def _flat(rows: pa.Table) -> pd.DataFrame:
    """Strings instead of dictionaries, which differ from part to part."""
    plain = [
        pa.field(column.name, column.type.value_type) if pa.types.is_dictionary(column.type) else column
        for column in rows.schema
    ]
    return rows.cast(pa.schema(plain)).to_pandas()


def _pairs(predictions: pd.DataFrame, evaluations: pd.DataFrame, problems: Problems) -> None:
    measured = set(predictions[["part", *CELL]].itertuples(index=False, name=None))
    said = set(evaluations[["part", *CELL]].itertuples(index=False, name=None))
    problems.add("an evaluation without its predictions", places(said - measured))
    problems.add("predictions without their evaluation", places(measured - said))


def places(cells: Iterable[tuple[str, str, int, int]]) -> list[str]:
    """(part, evaluation id, after which task, task) in words, in order."""
    return [f"{identifier[:8]} on task {task} after task {turn}" for _, identifier, turn, task in sorted(cells)]


def _names(predictions: pd.DataFrame, evaluations: pd.DataFrame, problems: Problems) -> None:
    """Parts are named by evaluation id, turn and first sample; tables of published runs are one part each."""
    for table, rows in (("predictions", predictions), ("evaluations", evaluations)):
        for part, content in rows[rows["part"] != WHOLE].groupby("part"):
            named = PART.fullmatch(str(part))
            if named is None:
                problems.add("a part that is named by no evaluation", [f"{table}/{part}.parquet"])
                continue
            held = {(str(i), int(t)) for i, t in zip(content["evaluation_id"], content["after_task"], strict=True)}
            wrong = held != {(named["identifier"], int(named["turn"]))}
            if table == "predictions":
                wrong |= int(content["sample"].min()) != int(named["first"])
            if wrong:
                problems.add("a part that holds other things than its name says", [f"{table}/{part}.parquet"])
