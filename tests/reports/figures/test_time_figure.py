"""The figure of time: the parts of the seconds of a run by purpose, and what older records know of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from reports.figures.time import ATTACKS, LEARNING, NAMES, REST, time_figure, time_table
from results.schema import SECONDS
from tests.reports.figure_words import drawn, words
from tests.reports.synthetic_runs import FakeRun, board_of


def timed(label: str, **seconds: float) -> FakeRun:
    facts = [
        {"task": -1, "phase": SECONDS, "name": name.replace("_", " "), "value": value}
        for name, value in seconds.items()
    ]
    return FakeRun(label, quality=1.0, costs={"train_seconds": 70.0}, facts=facts)


NEW = timed("new", learn=60, validate=10, attack_pgd=20, attack_noise=5, extra_square=2, start=2, hash=1, novelty=3)
OLD = FakeRun("old", quality=1.5, costs={"train_seconds": 30.0})


def test_purposes_are_grouped_and_none_is_lost(tmp_path: Path) -> None:
    (row,) = time_table(board_of(tmp_path, NEW)).to_dict("records")
    assert row["whole"]
    found = {name: row[name] for name in NAMES if row[name]}
    expected = {LEARNING: 60, "validation": 10, ATTACKS: 25, "extra attacks": 2, "hashing": 1, REST: 5}
    assert found == pytest.approx(expected)


def test_a_row_without_purposes_shows_learning_and_attacks_and_is_named(tmp_path: Path) -> None:
    board = board_of(tmp_path, NEW, OLD)
    rows = time_table(board).set_index("label")
    attacked = next(row for row in board.rows if row.label == "old").seeds[0].run.evaluations["seconds"].sum()
    assert not rows["whole"]["old"]
    assert {name: rows[name]["old"] for name in NAMES if rows[name]["old"]} == pytest.approx(
        {LEARNING: 30, **({ATTACKS: attacked} if attacked else {})}
    )
    text = " ".join(words(drawn(lambda board, _: time_figure(board), board)[1])).replace("\n", " ")
    assert "attacks alone: old." in text
    assert "100 s" in text or "1.7 min" in text or "103 s" in text


def test_bars_are_parts_of_the_whole_run(tmp_path: Path) -> None:
    figure = drawn(lambda board, _: time_figure(board), board_of(tmp_path, NEW))[1]
    bars = figure.axes[0].patches
    assert sum(bar.get_width() for bar in bars) == pytest.approx(100)
    assert bars[0].get_width() == pytest.approx(100 * 60 / 103)


def test_without_any_time_there_is_no_figure(tmp_path: Path) -> None:
    board = board_of(tmp_path, FakeRun("silent", quality=1.0, costs={}))
    if time_table(board).empty:
        assert drawn(lambda board, _: time_figure(board), board) is None
