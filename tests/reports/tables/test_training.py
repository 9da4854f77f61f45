"""Recipes of rows, and the speed at which they learned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reports.tables.training import progress_of, recipes_table, selection_table, training_curve, training_table
from reports.write import Report, write_report
from results import load
from tests.reports.quick_report import quick_report
from tests.reports.synthetic_runs import FakeRun, judged_board_of, write_run


def epoch(task: int, seconds: float, robust: float | None, phase: str = "train", number: int = 0) -> dict[str, Any]:
    log = {"task": task, "phase": phase, "epoch": number, "seconds": seconds, "robust_validation": robust}
    return {**log, "loss": 1.0, "learning_rate": 0.1, "selected": False}


ONE = [epoch(0, 1, None), epoch(0, 1, 0.4), epoch(0, 2, 0.3), epoch(0, 1, 0.6, "retrain")]
TWO = [epoch(1, 3, 0.2), epoch(1, 3, 0.8)]


def test_progress_is_the_best_so_far_over_the_seconds_of_all_stages(tmp_path: Path) -> None:
    board = judged_board_of(tmp_path, FakeRun("packnet", training=[*ONE, *TWO]))
    first, second = progress_of(board.rows[0].seeds[0].run).values()
    assert first["seconds"].tolist() == [2, 4, 5]
    assert first["best"].tolist() == [0.4, 0.4, 0.6]
    assert (second["seconds"].tolist(), second["best"].tolist()) == ([3, 6], [0.2, 0.8])


def test_a_curve_is_the_mean_over_tasks_from_where_all_of_them_were_validated(tmp_path: Path) -> None:
    board = judged_board_of(tmp_path, FakeRun("packnet", training=[*ONE, *TWO]))
    curve = training_curve(board.rows[0])
    at = dict(zip(curve["seconds"], curve["robust_validation"], strict=True))
    assert (min(at), max(at)) == (3, 6)
    assert at[3] == pytest.approx((0.4 + 0.2) / 2)
    assert at[6] == pytest.approx((0.6 + 0.8) / 2)
    before_five = max(seconds for seconds in at if seconds < 5)
    assert at[before_five] == pytest.approx(0.3)
    assert np.all(np.diff(curve["robust_validation"]) >= 0)


def test_learning_all_tasks_at_once_counts_its_seconds_per_task(tmp_path: Path) -> None:
    log = [epoch(-1, 9, 0.5), epoch(-1, 9, 0.7)]
    board = judged_board_of(
        tmp_path, FakeRun("joint_at", all_at_once=True, protocol={"all_at_once": True}, training=log)
    )
    assert training_curve(board.rows[0])["seconds"].iloc[[0, -1]].tolist() == [3, 6]


def test_the_table_names_every_row_where_its_curve_rises_and_ends(tmp_path: Path) -> None:
    board = judged_board_of(
        tmp_path, FakeRun("packnet", training=[*ONE, *TWO]), FakeRun("silent"), FakeRun("fast_at", training=TWO)
    )
    table = training_table(board)
    assert set(table["label"]) == {"packnet", "fast_at"}
    of_one = table[table["label"] == "fast_at"]
    assert of_one["robust_validation"].tolist() == pytest.approx([0.2, 0.8])
    assert of_one["seconds"].tolist() == [3, 6]


def test_the_network_that_was_kept_stands_beside_the_one_that_training_ended_with(tmp_path: Path) -> None:
    values = {
        "selected_epoch": 3.0,
        "selected_clean": 0.5,
        "selected_robust": 0.4,
        "last_clean": 0.6,
        "last_robust": 0.2,
    }
    facts = [
        {"task": task, "phase": stage, "name": name, "value": value + shift, "text": None}
        for task, stage, shift in ((0, "train", 0.0), (0, "retrain", 0.1), (1, "train", 0.2))
        for name, value in values.items()
    ]
    board = judged_board_of(tmp_path, FakeRun("packnet", facts=facts), FakeRun("silent"))
    table = selection_table(board)
    assert table[["label", "seed", "task", "stage"]].to_numpy().tolist() == [
        ["packnet", 0, 0, "train"],
        ["packnet", 0, 0, "retrain"],
        ["packnet", 0, 1, "train"],
    ]
    assert table.iloc[1][list(values)].tolist() == pytest.approx([3.1, 0.6, 0.5, 0.7, 0.3])
    assert selection_table(judged_board_of(tmp_path / "none", FakeRun("silent"))).empty


OWN = {"own_recipe": {"learning_rate": 0.1, "schedule": "cyclic"}, "source": "Wong et al. 2020, section 5"}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """A row with a log of its training, one with a recipe of its own, and one that learned from extra data."""
    root = tmp_path_factory.mktemp("stored")
    for run in (
        FakeRun("packnet", training=[*ONE, *TWO]),
        FakeRun("fast_at", protocol=OWN),
        FakeRun("madry_at"),
        FakeRun("pretrained_at", protocol={"needs": ["extra_data"]}),
    ):
        write_run(root, run)
    return write_report(load(root, None), tmp_path_factory.mktemp("report"))


def test_the_report_has_the_curves_as_figure_and_table(report: Report) -> None:
    assert (report.output / "figures" / "digits__training.png").exists()
    assert (report.output / "tables" / "digits__training.csv").exists()
    assert "digits__training" in report.page.read_text()


def test_the_report_has_no_curves_where_nothing_was_logged(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", FakeRun("packnet"))
    report = quick_report(load(tmp_path / "runs", None), tmp_path / "without")
    assert (report.output / "figures" / "digits__accuracy.svg").exists()
    assert not list(report.output.rglob("*__training*"))


def test_rows_with_a_recipe_of_their_own_say_what_differs_and_where_it_is_from(report: Report, tmp_path: Path) -> None:
    (board,) = report.boards
    assert recipes_table(board).to_dict("records") == [
        {
            "label": "fast_at",
            "recipe differs in": "learning_rate: 0.1, schedule: cyclic",
            "source": "Wong et al. 2020, section 5",
        }
    ]
    for name in ("index.html", "leaderboard.md"):
        assert "Wong et al. 2020, section 5" in (report.output / name).read_text()
    assert len(recipes_table(judged_board_of(tmp_path / "other", FakeRun("packnet")))) == 0


def test_a_row_that_learned_from_extra_data_is_marked_wherever_it_stands(report: Report) -> None:
    for name in ("index.html", "leaderboard.md", "leaderboard.tex"):
        text = (report.output / name).read_text().replace("\\", "")
        assert "pretrained_at (extra data)" in text
        assert text.count("(extra data)") == text.count("pretrained_at (extra data)")
    marked = dict(zip(report.table["label"], report.table["extra_data"], strict=True))
    assert marked == {"packnet": False, "fast_at": False, "madry_at": False, "pretrained_at": True}
