"""A stored record that cannot be used costs itself alone: every other row is reported as if it were not there."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from reports import write
from reports.boards.building import build_boards, judged
from reports.boards.left_out import of_sound_ones
from reports.tables.leaderboard import wide_table
from reports.terminal import print_report
from results import load
from results.files import read_json, write_json
from tests.reports.quick_report import quick_report, report_with_blank_figures
from tests.reports.synthetic_runs import FakeRun, pgd, with_hashes, write_run

TINY_EPS = f"1/{10**400}"


def edited(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    """A change of the `config.json` of a run in a folder."""

    def edit(folder: Path) -> None:
        config = read_json(folder / "config.json")
        change(config)
        write_json(folder / "config.json", config)

    return edit


def demanded(**fields: Any) -> Callable[[Path], None]:
    return edited(lambda config: config["protocols"]["digits"].update(fields))


def identified(**fields: Any) -> Callable[[Path], None]:
    return edited(lambda config: config.update(identity=with_hashes({**config["identity"], **fields})))


SPOILED: dict[str, Callable[[Path], None]] = {
    "an eps that underflows": demanded(ranking_eps=TINY_EPS, eps=TINY_EPS),
    "an eps with a huge exponent": demanded(ranking_eps="1e99999999"),
    "an eps that is no number": demanded(ranking_eps="many"),
    "a demand that is no object": edited(lambda config: config["protocols"].update(digits=7)),
    "attacks that are no list": demanded(matrix=7),
    "a number of tasks that is none": demanded(tasks="three"),
    "fewer tasks than are stored": demanded(tasks=1),
    "a number of samples that is none": demanded(samples={"clean": "all"}),
    "needs that are no list": demanded(needs=3),
    "a seed that is text": identified(seed="0"),
    "a seed that is a list": identified(seed=[0]),
    "a backbone without a name": identified(backbone={"width": "wide"}),
    "an identity that was edited": edited(lambda config: config["identity"].update(backbone={"name": "wide"})),
    "provenance that is no object": edited(lambda config: config.update(provenance=[1, 2])),
}


@pytest.fixture
def sound(tmp_path: Path) -> pd.DataFrame:
    """The table of two rows beside which nothing is spoiled; their runs are in `runs`."""
    write_run(tmp_path / "runs", FakeRun("packnet", quality=1.2))
    write_run(tmp_path / "runs", FakeRun("cmat", quality=2.2))
    write_run(tmp_path / "runs", FakeRun("trades", preset="other"))
    return wide_table(build_boards(load(tmp_path / "runs", None), ()))


@pytest.mark.parametrize("kind", SPOILED)
def test_a_spoiled_record_costs_itself_alone(tmp_path: Path, sound: pd.DataFrame, kind: str) -> None:
    store = write_run(tmp_path / "runs", FakeRun("spoiled", quality=1.5))
    SPOILED[kind](store.directory)
    report = report_with_blank_figures(load(tmp_path / "runs", None), tmp_path / "out")
    others = report.table[report.table["label"] != "spoiled"]
    assert others["label"].tolist() == sound["label"].tolist()
    for column in ("ACC_lopezpaz2017 worst", "ACC_lopezpaz2017 clean", "F_chaudhry2018 clean"):
        assert others[column].tolist() == pytest.approx(sound[column].tolist(), nan_ok=True)
    spoiled = report.table[report.table["label"] == "spoiled"]
    told = [str(problem) for problem in report.problems]
    assert len(spoiled) + len(told) == 1, told
    assert all(str(store.directory) in problem and "\n" not in problem for problem in told)
    console = Console(width=200, file=io.StringIO())
    print_report(report, console)
    assert all(problem in console.file.getvalue() for problem in told)


def test_a_whole_report_beside_spoiled_records_of_many_kinds_is_that_of_the_others(
    tmp_path: Path, sound: pd.DataFrame
) -> None:
    """Its figures are drawn. Needs that are no list stop what is written, and are above."""
    kinds = [kind for kind in SPOILED if kind != "needs that are no list"]
    stores = {kind: write_run(tmp_path / "runs", FakeRun(kind, quality=1.5)) for kind in kinds}
    for kind, store in stores.items():
        SPOILED[kind](store.directory)
    report = quick_report(load(tmp_path / "runs", None), tmp_path / "out")
    assert report.table[~report.table["label"].isin(kinds)]["label"].tolist() == sound["label"].tolist()
    for kind, store in stores.items():
        told = [problem for problem in report.problems if problem.path == store.directory]
        assert report.table["label"].tolist().count(kind) + len(told) == 1, (kind, told)


def test_an_eps_that_nothing_was_measured_at_is_named(tmp_path: Path, sound: pd.DataFrame) -> None:
    store = write_run(tmp_path / "runs", FakeRun("spoiled"))
    SPOILED["an eps that underflows"](store.directory)
    (problem,) = report_with_blank_figures(load(tmp_path / "runs", None), tmp_path / "out").problems
    assert problem.path == store.directory
    assert problem.reason == f"left out of digits: eps = {TINY_EPS[:40]}: no number that anything can be measured at"


def test_an_attack_at_an_eps_of_no_size_is_no_number_of_the_row(tmp_path: Path, sound: pd.DataFrame) -> None:
    odd = pgd(10, eps="1/5")
    write_run(
        tmp_path / "runs",
        FakeRun("spoiled", edit_evaluation=lambda record: record.update(eps=TINY_EPS, step_size="1e99999999")),
    )
    report = report_with_blank_figures(load(tmp_path / "runs", None), tmp_path / "out")
    assert set(report.table["label"]) >= {"cmat", "packnet"}
    spoiled = report.table[report.table["label"] == "spoiled"]
    assert odd.name
    assert spoiled["verdict"].tolist() != ["pass"]


def test_a_crash_of_a_check_or_of_a_metric_costs_the_row_it_is_about(
    tmp_path: Path, sound: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reports.boards import building

    write_run(tmp_path / "runs", FakeRun("spoiled"))
    usual = building.judge

    def judge(evidence: Any, checks: Any = None) -> Any:
        if evidence.label == "spoiled":
            raise ZeroDivisionError("division\nby zero")
        return usual(evidence, checks)

    monkeypatch.setattr(building, "judge", judge)
    results = load(tmp_path / "runs", None)
    (digits, other) = build_boards(results, ())
    assert ({row.label for row in digits.rows}, {row.label for row in other.rows}) == ({"cmat", "packnet"}, {"trades"})
    (problem,) = results.problems
    assert problem.reason == "left out of digits: ZeroDivisionError: division by zero"
    assert {seed.evidence.label for seed in judged(load(tmp_path / "runs", None), "digits")} == {"cmat", "packnet"}


def test_a_row_that_no_file_can_be_written_of_is_left_out(
    tmp_path: Path, sound: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path / "runs", FakeRun("spoiled"))
    usual = write.row_entry

    def row_entry(board: Any, row: Any) -> Any:
        if row.label == "spoiled":
            raise ValueError("no entry")
        return usual(board, row)

    monkeypatch.setattr(write, "row_entry", row_entry)
    report = report_with_blank_figures(load(tmp_path / "runs", None), tmp_path / "out")
    assert report.table["label"].tolist() == sound["label"].tolist()
    assert [problem.reason for problem in report.problems] == ["left out of digits: ValueError: no entry"]
    assert not list((tmp_path / "out").rglob("*spoiled*"))


def test_an_output_that_cannot_be_written_is_no_fault_of_a_row(
    tmp_path: Path, sound: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(write, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        report_with_blank_figures(load(tmp_path / "runs", None), tmp_path / "out")


@pytest.mark.parametrize(
    ("items", "made", "left_out"),
    [
        ([1, 2, 3], [1, 2, 3], []),
        ([1, 0, 3], [1, 3], [0]),
        ([0], None, [0]),
        ([0, 0], None, [0, 0]),
        ([1, 2, "a", 3], [1, 2, 3], ["a"]),
        (["a", 1, 0, "b"], ["a", "b"], [0, 1]),
        ([], [], []),
    ],
)
def test_items_are_left_out_if_they_fail_alone_or_beside_the_ones_before(
    items: list[Any], made: list[Any] | None, left_out: list[Any]
) -> None:
    """Zero fails alone; numbers and text fail together."""
    told: list[Any] = []

    def make(some: Any) -> list[Any]:
        _ = [1 / each for each in some if each == 0]
        return sorted(some)

    assert of_sound_ones(items, make, lambda item, error: told.append(item)) == made
    assert told == left_out
