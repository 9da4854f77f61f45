"""From Python there are the numbers of the report's files, to the bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reports import frames
from reports.boards.board import Board
from reports.tables.details import board_tables
from reports.tables.leaderboard import wide_table
from reports.tables.words import to_csv
from results import load
from results.file_names import file_name
from tests.reports.synthetic_runs import FakeRun, clean, pgd, write_run


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> frames.Tables:
    """Two boards; two rows of two seeds on the one, an incomplete row below its line, one row on the other."""
    root = tmp_path_factory.mktemp("runs")
    for seed in range(2):
        write_run(root, FakeRun("packnet", quality=1.2, forgets=0.3, seed=seed))
        write_run(root, FakeRun("cmat", quality=2.2, seed=seed))
    write_run(root, FakeRun("late", learned=1))
    write_run(root, FakeRun("packnet", preset="other", matrix=[clean(), pgd(7)], final=[], settings={"b": 2}))
    return frames.Tables(load(root, None))


def written(boards: list[Board], name: str) -> dict[str, str]:
    """The CSV files called `name` that a report writes, by preset."""
    files = {stem: to_csv(frame) for board in boards for stem, frame in board_tables(board)}
    found = {board.preset: files.get(f"{file_name(board.preset)}__{name}") for board in boards}
    return {preset: text for preset, text in found.items() if text is not None and text.count("\n") > 1}


def by_preset(frame: pd.DataFrame) -> dict[str, str]:
    return {str(preset): to_csv(part.drop(columns="preset")) for preset, part in frame.groupby("preset", sort=False)}


@pytest.mark.parametrize("name", ["comparisons", "verdicts", "sweep"])
def test_tables_are_those_of_the_report(tables: frames.Tables, name: str) -> None:
    found = by_preset(getattr(tables, name))
    assert found == written(tables.boards, name)
    assert found


@pytest.mark.parametrize("attack", ["clean", "worst", "pgd-10 linf 51/255 a=12.75/255 any"])
def test_so_are_those_of_an_attack(tables: frames.Tables, attack: str) -> None:
    for kind, table in (("matrix", tables.matrices(attack)), ("tasks", tables.tasks(attack))):
        assert by_preset(table) == written(tables.boards, f"{kind}__{file_name(attack)}")
        assert by_preset(table)


def test_the_leaderboard_is_its_file(tables: frames.Tables) -> None:
    ranks = tables.leaderboard["rank"]
    assert ranks.dtype == "Int64"
    assert ranks.isna().tolist() == [verdict == "incomplete" for verdict in tables.leaderboard["verdict"]]
    assert to_csv(tables.leaderboard.drop(columns="rank")) == to_csv(wide_table(tables.boards).drop(columns="rank"))
    assert tables.leaderboard.columns[0] == "rank"


def test_predictions_are_those_of_all_seeds_and_give_the_matrix(tables: frames.Tables) -> None:
    rows = tables.predictions("packnet", "digits")
    assert sorted(rows["seed"].unique()) == [0, 1]
    right = rows.assign(right=rows["label"] == rows["predicted"])
    by_cell = right[right["attack"] == "clean"].groupby(["seed", "after_task", "task"])["right"].mean()
    matrix = tables.matrices("clean").query("label == 'packnet' and preset == 'digits'")
    assert np.array_equal(matrix.set_index(["seed", "after_task", "task"])["accuracy"].sort_index(), by_cell)
    assert len(tables.predictions("packnet")) > len(rows)


def test_what_is_not_stored_is_one_clear_line(tables: frames.Tables) -> None:
    with pytest.raises(ValueError, match="no stored attack is named 'pgd'; there are: clean, "):
        tables.matrices("pgd")
    with pytest.raises(ValueError, match="no stored run is labelled 'cmta'; there are: cmat, late, packnet"):
        tables.predictions("cmta")


def test_nothing_stored_is_empty(tmp_path: Path) -> None:
    empty = frames.Tables(load(tmp_path, None))
    assert not len(empty.leaderboard)
    assert not len(empty.verdicts)
