"""A report of boards, rows and attacks with long names: short names of files, the whole names inside."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from reports.tables.words import to_csv
from results import load
from tests.reports.quick_report import quick_report
from tests.reports.synthetic_runs import FakeRun, clean, pgd, transfer, write_run

OVERRIDES = " ".join(
    ["cifar100", "recipe.epochs=20", "recipe.batch_size=256", "recipe.learning_rate=0.05", "recipe.weight_decay=0.0005",
     "evaluation.batch_size=1024", "backbone.width=0.25", "methods.cmat.settings.first_task_epochs=40"]
)  # fmt: skip
OTHER = f"{OVERRIDES}0"
LABEL = "cmat with a label that says everything about how it was trained, and for how long, and why"
LONG_ATTACK = "a_row_of_a_name_that_is_longer_than_anybody_would_choose_without_need_or_at_least_some_reason"


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Two boards whose long names differ in the last letter, with rows and attacks of long names."""
    root = tmp_path_factory.mktemp("stored")
    for preset, more in ((OVERRIDES, {}), (OTHER, {"b": 1})):
        attacks = {"matrix": [clean(), pgd(10)], "final": [], "transfers": [transfer(LONG_ATTACK)], "preset": preset}
        write_run(root, FakeRun("cmat", LABEL, settings={"a": 1, **more}, **attacks))
        write_run(root, FakeRun("cmat", f"{LABEL}?", settings={"a": 2, **more}, **attacks))
        write_run(root, FakeRun("cmat", f"{LABEL}!", settings={"a": 3, **more}, **attacks))
    return root


@pytest.fixture(scope="module")
def report(stored, tmp_path_factory):
    return quick_report(load(stored, None), tmp_path_factory.mktemp("report"))


def names(report):
    return sorted(path.name for path in report.output.rglob("*") if path.is_file())


def test_a_preset_with_seven_overrides_is_reported(report):
    assert [board.preset for board in report.boards] == [OVERRIDES, OTHER]
    assert [len(board.ranked) for board in report.boards] == [3, 3]
    assert max(len(name) for name in names(report)) < 200
    for board in report.boards:
        assert board.stem.startswith("cifar100_recipe.epochs=20_")
        for file in ("tables/{}__verdicts.csv", "figures/{}__accuracy.svg", "figures/{}__sequence.svg"):
            assert (report.output / file.format(board.stem)).is_file()


def test_boards_that_differ_in_their_last_letter_have_files_of_their_own(report):
    first, second = (board.stem for board in report.boards)
    found = [{name.removeprefix(stem) for name in names(report) if name.startswith(stem)} for stem in (first, second)]
    assert found[0]
    assert found[0] == found[1]


def test_whole_names_are_inside(report):
    table = pd.read_csv(report.output / "tables" / "all__names.csv")
    assert set(table["preset"]) == set(table.loc[table["kind"] == "preset", "name"]) == {OVERRIDES, OTHER}
    attacks = table[(table["kind"] == "attack") & (table["preset"] == OTHER)]
    assert [name for name in attacks["name"] if LONG_ATTACK in name]
    files = names(report)
    for place in attacks["in_files"]:
        assert f"{report.boards[1].stem}__matrix__{place}.csv" in files
    rows = table[table["kind"] == "row"]
    assert sorted(rows["name"].unique()) == sorted([LABEL, f"{LABEL}?", f"{LABEL}!"])
    for _, row in rows.iterrows():
        entry = json.loads((report.output / "rows" / f"{row['in_files']}.json").read_text(encoding="utf-8"))
        assert (entry["preset"], entry["label"]) == (row["preset"], row["name"])
    page = report.page.read_text(encoding="utf-8")
    assert page.count(f"<h2>{OVERRIDES}</h2>") == page.count(f"<h2>{OTHER}</h2>") == 1
    assert set(report.table["preset"]) == {OVERRIDES, OTHER}


def test_links_of_the_report_lead_to_its_files(report):
    text = (report.output / "leaderboard.md").read_text(encoding="utf-8").replace("\\", "")
    for board in report.boards:
        assert f"tables/{board.stem}__sweep.csv" in text
    page = report.page.read_text(encoding="utf-8")
    for path in (report.output / "rows").iterdir():
        assert f'href="rows/{path.name}"' in page


def test_files_of_boards_that_are_gone_are_removed(report, stored, tmp_path):
    output = tmp_path / "out"
    everything = load(stored, None)
    quick_report(everything, output)
    kept = [run for run in everything.runs if OTHER in run.protocols]
    everything.runs[:] = kept
    second = quick_report(everything, output)
    assert [board.preset for board in second.boards] == [OTHER]
    gone, there = report.boards[0].stem, report.boards[1].stem
    assert not [name for name in names(second) if name.startswith(gone)]
    assert [name for name in names(second) if name.startswith(there)] == [
        name for name in names(report) if name.startswith(there)
    ]


def test_labels_that_differ_in_replaced_characters_or_case_have_entries_of_their_own(tmp_path):
    labels = ["a/b", "a-b", "A-B", "a b"]
    for k, label in enumerate(labels):
        write_run(tmp_path / "runs", FakeRun("cmat", label, settings={"k": k}, final=[]))
    report = quick_report(load(tmp_path / "runs", None), tmp_path / "out")
    paths = list((tmp_path / "out" / "rows").iterdir())
    assert len({path.name.casefold() for path in paths}) == len(labels)
    assert sorted(json.loads(path.read_text(encoding="utf-8"))["label"] for path in paths) == sorted(labels)
    (board,) = report.boards
    assert to_csv(report.table).count("digits") == len(labels) == len(board.rows)
