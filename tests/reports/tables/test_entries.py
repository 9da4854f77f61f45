"""A row's entry says what the leaderboard says, everything else a reader may want, null for what nobody recorded, and how to
make the row again."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from reports.boards.building import build_boards
from reports.page.rows import page_board
from reports.tables.commands import commands_of
from reports.tables.entries import entry_names, row_entry, to_json
from results import load
from results.files import read_json, write_json
from tests.reports.quick_report import quick_report
from tests.reports.synthetic_runs import FakeRun, autoattack, clean, judged_board_of, pgd, write_run

PGD = "pgd-10 linf 51/255 a=12.75/255"
ROBUSTBENCH = (
    "link", "name", "authors", "additional_data", "number_forward_passes", "dataset", "venue", "architecture", "eps", "clean_acc",
    "reported", "corruptions_acc", "autoattack_acc", "external", "footnote", "unreliable",
)  # fmt: skip


SMALL: dict[str, Any] = {"tasks": 1, "samples": 6, "final": [], "matrix": [clean(), pgd(10)]}


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """Two rows of three seeds; one seed of packnet was measured outside its ball."""

    def outside(record):
        record["largest_change"] = 0.9

    final = [autoattack({"apgd-ce": 10})]
    runs = [FakeRun("cmat", seed=seed, quality=2.2, final=final, backbone="vgg16_bn") for seed in range(3)]
    runs += [
        FakeRun("packnet", seed=seed, final=final, edit_evaluation=outside if seed == 1 else None) for seed in range(3)
    ]
    return judged_board_of(tmp_path_factory.mktemp("stored"), *runs, FakeRun("trades", "un/finished", learned=1))


@pytest.fixture(scope="module")
def entries(board):
    made = {row.label: row_entry(board, row) for row in board.rows}
    return {label: json.loads(to_json(entry)) for label, entry in made.items()}


def test_an_entry_holds_what_robustbench_asks_for_and_invents_nothing(entries):
    entry = entries["cmat"]
    assert set(ROBUSTBENCH) <= set(entry)
    assert {name: entry[name] for name in ("link", "authors", "venue", "reported")} == dict.fromkeys(
        ("link", "authors", "venue", "reported")
    )
    assert (entry["dataset"], entry["architecture"], entry["eps"]) == ("digits", "vgg16_bn, width 1", "51/255")
    for field, attack in (("clean_acc", "clean"), ("autoattack_acc", "autoattack linf 51/255")):
        assert entry[field] == f"{100 * entry['metrics'][f'ACC_lopezpaz2017 {attack}']['value']:.2f}"
    assert (entry["unreliable"], entries["packnet"]["unreliable"]) == (False, True)


def test_an_entry_says_what_the_row_says(board, entries):
    for row in board.rows:
        entry = entries[row.label]
        assert (entry["rank"], entry["verdict"], entry["reason"]) == (row.rank, row.verdict, row.reason)
        for column, value in row.measures.values.items():
            stored = entry["costs"].get(column) if column in entry["costs"] else entry["metrics"][column]["value"]
            assert stored == (value if math.isfinite(value) else None), column
        for column, bounds in row.measures.intervals.items():
            assert entry["metrics"][column]["low"] == (bounds.low if math.isfinite(bounds.low) else None)
    assert entries["un/finished"]["matrices"]["clean"][2] == [None, None, None]


def test_per_task_numbers_follow_from_the_stored_predictions(board, entries):
    row = next(row for row in board.rows if row.label == "cmat")
    frames = [seed.run.predictions.assign(seed=seed.run.seed) for seed in row.seeds]
    frame = pd.concat(frames).assign(right=lambda rows: rows.label == rows.predicted)
    last = frame[(frame.after_task == 2) & (frame.attack == PGD)]
    tasks = entries["cmat"]["tasks"]
    assert [task["under"][PGD]["accuracy"] for task in tasks] == pytest.approx(
        last.groupby("task").right.mean().tolist()
    )
    for task in tasks:
        for scores in task["under"].values():
            assert scores["samples"] == 40
            assert scores["low"] < scores["accuracy"] <= scores["high"] <= 1
    mean = sum(task["under"]["worst"]["accuracy"] for task in tasks) / 3
    assert mean == pytest.approx(entries["cmat"]["metrics"]["ACC_lopezpaz2017 worst"]["value"])


def test_a_check_is_told_of_the_seed_that_fares_worst(entries):
    check = next(check for check in entries["packnet"]["checks"] if check["name"] == "within_eps")
    assert (check["status"], check["seed"]) == ("fail", 1)
    assert check["by_seed"] == {"0": "pass", "1": "fail", "2": "pass"}
    assert check["reason"]
    assert check["evidence"]


def test_comparisons_are_seen_from_the_row(tmp_path):
    strong, weak = FakeRun("cmat", quality=2.4), FakeRun("packnet", quality=0.6)
    board = judged_board_of(tmp_path, strong, weak)
    first, second = (row_entry(board, row)["comparisons"][0] for row in board.ranked)
    assert (first["other"], first["is_better"], second["other"], second["is_better"]) == (
        "packnet",
        True,
        "cmat",
        False,
    )
    assert first["difference"] == -second["difference"] > 0
    assert first["low"] == -second["high"] <= first["difference"] <= first["high"]
    # Over one seed both intervals are the bootstrap's.
    assert (first["bootstrap_low"], second["bootstrap_high"]) == (first["low"], -first["low"])


def test_names_are_files_and_never_two_of_one_name(tmp_path):
    hard = ["a/b", "a-b", "C", "c", "x" * 300]
    board = judged_board_of(
        tmp_path, *(FakeRun("cmat", label, settings={"a": k}, **SMALL) for k, label in enumerate(hard))
    )
    names = entry_names(board)
    assert len({name.casefold() for name in names}) == len(board.rows) == 5
    assert max(map(len, names)) < 120
    assert sum(name.startswith("digits__a-b__") for name in names) == 2
    alone = judged_board_of(tmp_path / "alone", FakeRun("cmat", **SMALL))
    assert entry_names(alone) == ["digits__cmat"]


def test_the_report_writes_them_and_drops_stale_ones(tmp_path):
    write_run(tmp_path / "runs", FakeRun("cmat", **SMALL))
    (tmp_path / "out" / "rows").mkdir(parents=True)
    (tmp_path / "out" / "rows" / "digits__gone.json").touch()
    report = quick_report(load(tmp_path / "runs", None), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out" / "rows").iterdir()] == ["digits__cmat.json"]
    stored = (tmp_path / "out" / "rows" / "digits__cmat.json").read_text(encoding="utf-8")
    assert stored == to_json(row_entry(report.boards[0], report.boards[0].rows[0]))


def test_rows_of_one_rank_are_not_called_equal_where_they_differ(tmp_path):
    board = judged_board_of(tmp_path, FakeRun("cmat", **SMALL), FakeRun("packnet", **SMALL))
    entries = {name: row_entry(board, row) for name, row in zip(entry_names(board), board.rows, strict=True)}
    assert [row.rank for row in board.ranked] == [1, 1]
    assert "cannot be told apart" in page_board(board, entries).tie_note
    differing = replace(board.comparisons[0], difference=0.5, p_holm=0.001)
    assert "cannot be" not in page_board(replace(board, comparisons=[differing]), entries).tie_note


# -- commands ---------------------------------------------------------------------------------------------------------

RUN = "python run_benchmark.py run"


@pytest.mark.parametrize(
    ("preset", "recorded", "expected"),
    [
        ("digits", f"{RUN} --preset digits", "--preset digits --methods cmat"),
        ("digits", "python run_benchmark.py", "--preset digits --methods cmat"),
        (
            "digits",
            f"{RUN} --preset digits --results DIR --data-root DIR --methods cmat x --seeds 0 1 --workers 2 --force "
            "--set recipe.epochs=5 'a.b=[1, 2]'",
            "--preset digits --data-root DIR --set recipe.epochs=5 'a.b=[1, 2]' --methods cmat",
        ),
        ("mine", f"{RUN} --preset=my/mine.yaml --meth cmat", "--preset my/mine.yaml --methods cmat"),
        ("digits", f"{RUN} --preset digits --methods somewhere/cmat.py", "--preset digits --methods somewhere/cmat.py"),
        (
            "digits methods.x.a=1",
            f"{RUN} --preset digits --methods cmat x --set methods.x.a=1",
            "--preset digits --set methods.x.a=1 --methods cmat x",
        ),
        (
            "digits a=[1, 2] b=3",
            "python run_benchmark.py audit --preset digits",
            "--preset digits --set 'a=[1, 2]' b=3 --methods cmat",
        ),
        ("digits", f"{RUN} --preset other --set a=1", "--preset digits --methods cmat"),
        ("digits", "no 'command", "--preset digits --methods cmat"),
    ],
)  # fmt: skip
def test_the_command_makes_this_row_and_no_other(tmp_path, preset, recorded, expected):
    board = judged_board_of(tmp_path, FakeRun("cmat", preset=preset, protocol={"command": recorded}, **SMALL))
    assert commands_of(preset, board.rows[0]) == [f"{RUN} {expected} --seeds 0"]


def test_what_the_run_was_trained_by_counts_where_its_demand_is_not_recorded(tmp_path):
    store = write_run(tmp_path, FakeRun("cmat", protocol={"command": ""}, **SMALL))
    config = read_json(store.directory / "config.json")
    config["provenance"]["command"] = f"{RUN} --preset digits --checks deep"
    write_json(store.directory / "config.json", config)
    (board,) = build_boards(load(tmp_path, None))
    assert commands_of("digits", board.rows[0]) == [f"{RUN} --preset digits --checks deep --methods cmat --seeds 0"]


def test_seeds_that_were_demanded_differently_have_commands_of_their_own(tmp_path):
    commands = [f"{RUN} --preset digits"] * 2 + [f"{RUN} --preset digits --checks deep"]
    runs = [
        FakeRun("cmat", "a b", seed=k, protocol={"command": command}, **SMALL) for k, command in enumerate(commands)
    ]
    board = judged_board_of(tmp_path, *runs)
    assert commands_of("digits", board.rows[0]) == [
        f"{RUN} --preset digits --methods 'a b' --seeds 0 1",
        f"{RUN} --preset digits --checks deep --methods 'a b' --seeds 2",
    ]


def test_a_label_in_an_entry_is_only_text(tmp_path):
    label = 'x"</script><b>\u2028\ud7ff'
    board = judged_board_of(tmp_path, FakeRun("cmat", label, **SMALL))
    # A line separator is shown as its escape, as in every output.
    assert json.loads(to_json(row_entry(board, board.rows[0])))["label"] == 'x"</script><b>\\u2028\ud7ff'
