"""`verify` says of a run that holds that it holds, and of one that is not whole what it could not verify."""

from __future__ import annotations

import pytest

from benchmark.cli import main
from benchmark.commands.verify.findings import Problems
from results import load
from results.store import RunStore
from tests.benchmark.commands.verify.edited_records import edit, part, relabel
from tests.benchmark.commands.verify.verified import the_run, verify
from tests.conftest import REAL_CIFAR100, REPOSITORY
from tests.tiny import run_tiny

PUBLISHED = REPOSITORY / "results" / "published" / "cifar100-cpu"


def test_an_untouched_run_holds_and_has_a_finding_for_each_part(folder, capsys):
    code, shown = verify(folder, capsys)
    assert code == 0, shown
    assert "everything holds" in shown
    for name in (
        "identity",
        "presets",
        "tasks",
        "files",
        "evaluations",
        "predictions",
        "checkpoints",
        "classifiers",
        "images",
        "verdicts",
    ):
        assert f"\n  {name}: " in shown
    assert "not verified" not in shown
    assert "2 checkpoints" in shown
    assert "3 classifiers" in shown


@pytest.mark.parametrize("method", ["packnet", "joint_at", "madry_at"])
def test_runs_of_every_kind_of_method_hold(tmp_path, capsys, method):
    """One that does not forget and keeps its last checkpoint alone, one that learns all at once, one of neither."""
    assert run_tiny(tmp_path, [method], evaluation={"checks": "none"}) == 0
    code, shown = verify(tmp_path, capsys, method)
    assert code == 0, shown


def test_what_checks_and_transfers_add_to_a_run_holds_too(tmp_path, capsys):
    again = {"attack": "pgd", "steps": 2, "step_size": "eps/4", "from": ["earlier"]}
    assert run_tiny(tmp_path, rows=[{"method": "madry_at"}], evaluation={"final": [{"attack": "fgsm"}, again]}) == 0
    code, shown = verify(tmp_path, capsys, "madry_at")
    assert code == 0, shown


def test_an_edit_that_is_undone_holds_again(folder, capsys):
    """Reading and writing a table as these tests do is not what is found."""
    for table in ("predictions", "evaluations"):
        edit(part(the_run(folder), table), lambda frame: None)
    assert verify(folder, capsys)[0] == 0


def test_without_preset_or_data_the_records_are_still_checked(folder, capsys, monkeypatch):
    code = main(["verify", "standard", "--results", str(folder / "runs")])
    shown = capsys.readouterr().out
    assert code == 0
    assert "  presets: not verified: tiny: preset 'tiny' is no built-in one; name its file with --preset" in shown
    assert "everything that was verified holds" in shown
    edit(part(the_run(folder), "predictions"), relabel)
    assert main(["verify", "standard", "--results", str(folder / "runs")]) == 1
    assert "a label that is not that of the data set" in capsys.readouterr().out


def test_published_records_hold_without_checkpoints_and_say_what_is_not_checked(capsys):
    data = ["--data-root", str(REAL_CIFAR100)] if REAL_CIFAR100.is_dir() else []
    for run in load(PUBLISHED, None).runs[:3]:
        code = main(["verify", run.hash, "--results", str(PUBLISHED), *data])
        shown = capsys.readouterr().out
        assert code == 0, shown
        assert "there are no checkpoints here (published records have none)" in shown


def test_many_cases_of_a_problem_are_one_line_with_the_first_and_a_count():
    problems = Problems()
    problems.add("a thing", [f"case {i}" for i in range(9)])
    problems.add("a thing", ["case 9"])
    problems.add("no such thing", [])
    problems.add("something")
    assert problems.lines() == ("a thing: case 0, case 1, case 2 and 7 more", "something")


def test_images_of_a_classifier_that_is_learned_again_are_set_aside_with_what_was_measured(folder):
    directory = the_run(folder)
    measured = [path for path in directory.rglob("*.001.*") if path.parent.name != "set-aside"]
    assert {path.parent.name for path in measured} == {"predictions", "evaluations", "adversarial"}
    run = load(folder / "runs", None).runs[0]
    RunStore(folder / "runs", run.hash).set_stale_aside(1, {"0": "other", "1": "weights"})
    assert not any(path.exists() for path in measured)
    assert len(list((directory / "set-aside").iterdir())) == len(measured)
