"""`verify` finds tables that were changed by hand, cut short or exchanged, and names them."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from results.files import canonical_json
from tests.benchmark.commands.verify.edited_records import EDITS, edit, other_steps, part, set_to
from tests.benchmark.commands.verify.verified import the_run, verify
from tests.tiny import run_tiny


@pytest.mark.parametrize("what", EDITS)
def test_a_record_that_was_edited_by_hand_is_found(folder, capsys, what):
    table, attack, change, expected = EDITS[what]
    edit(part(the_run(folder), table, attack), change)
    code, shown = verify(folder, capsys)
    assert code == 1
    assert f"    - {expected}" in shown


def test_an_evaluation_that_was_rewritten_whole_names_another_part(folder, capsys):
    """With a new id, spec, name and everything: the part's name is still that of what was measured."""
    from benchmark.evaluating.fingerprints import evaluation_id

    def change(frame: pd.DataFrame) -> None:
        other_steps(frame)
        specification = {**json.loads(frame.loc[0, "specification"])}
        frame["specification"] = canonical_json(specification)
        what = {"attack": specification, "task": frame.loc[0, "task_fingerprint"], "seed": 0, "precision": "fp32"}
        frame["evaluation_id"] = evaluation_id(frame.loc[0, "classifier"], what)

    edit(part(the_run(folder), "evaluations"), change)
    code, shown = verify(folder, capsys)
    assert code == 1
    assert "a part that holds other things than its name says: evaluations/" in shown
    assert "predictions without their evaluation" in shown


@pytest.mark.parametrize("table", ["predictions", "evaluations", "facts", "training"])
def test_truncated_parts_are_named(folder, capsys, table):
    path = sorted((the_run(folder) / table).glob("*.parquet"))[0]
    path.write_bytes(path.read_bytes()[:-30])
    code, shown = verify(folder, capsys)
    assert code == 1
    assert "not readable as parquet" in shown
    assert f"{table}/{path.name}" in shown


def test_parts_without_their_other_half_and_under_other_names_are_named(folder, capsys):
    directory = the_run(folder)
    part(directory, "evaluations", "fgsm").unlink()
    code, shown = verify(folder, capsys)
    assert code == 1
    assert "predictions without their evaluation" in shown
    path = part(directory, "predictions", "clean", task=1)
    path.rename(path.with_name("mine.parquet"))
    assert "a part that is named by no evaluation: predictions/mine.parquet" in verify(folder, capsys)[1]
    path = part(directory, "predictions", "clean")
    path.rename(path.with_name(path.name.replace(".001.", ".000.")))
    code, shown = verify(folder, capsys)
    assert code == 1
    assert "an evaluation without its predictions" in shown
    assert "a part that holds other things than its name says: predictions/" in shown


def test_predictions_without_any_evaluation_are_one_problem(folder, capsys):
    for path in (the_run(folder) / "evaluations").iterdir():
        path.unlink()
    code, shown = verify(folder, capsys)
    assert code == 1
    assert "predictions without their evaluation" in shown
    assert "their evaluations are not there" in shown


def test_facts_that_are_missing_or_other_than_the_checkpoint_are_found(folder, capsys):
    facts = the_run(folder) / "facts"

    def smaller(frame: pd.DataFrame) -> None:
        frame.loc[frame["name"] == "stored_mb", "value"] = 0.001

    edit(facts / "cost.parquet", smaller)
    code, shown = verify(folder, capsys)
    assert code == 1
    assert "a size that the last checkpoint does not have: stored_mb (0.001, it is" in shown
    edit(facts / "task-000.parquet", set_to("task", 7))
    (the_run(folder) / "training" / "task-001.parquet").unlink()
    code, shown = verify(folder, capsys)
    assert code == 1
    assert "of a task that is not there: facts/task-000.parquet" in shown
    assert "missing: training/task-001.parquet" in shown


def test_a_fingerprint_of_another_classifier_is_found(tmp_path, capsys):
    assert run_tiny(tmp_path, rows=[{"method": "single_task_standard"}], evaluation={"checks": "none"}) == 0

    def other(frame: pd.DataFrame) -> None:
        frame.loc[frame["name"] == "fingerprint_classifier", "text"] = "0" * 64

    edit(the_run(tmp_path) / "facts" / "task-001.parquet", other)
    code, shown = verify(tmp_path, capsys, "single_task_standard")
    assert code == 1
    assert "a fingerprint of another classifier than was evaluated: task 1" in shown


def test_verdicts_that_the_records_do_not_give_are_found(folder, capsys):
    path = the_run(folder) / "verdicts.json"
    whole = json.loads(path.read_text())
    (check,) = [each for each in whole["tiny"]["checks"] if each["check"] == "complete"]
    was, check["status"] = check["status"], "fail"
    path.write_text(json.dumps(whole))
    code, shown = verify(folder, capsys)
    assert code == 1
    assert f"a verdict that the records do not give: complete (fail, now {was})" in shown
    check["status"], verdict = was, whole["tiny"]["verdict"]
    whole["tiny"]["verdict"] = "excellent"
    path.write_text(json.dumps(whole))
    code, shown = verify(folder, capsys)
    assert code == 1
    assert "an overall verdict that the checks do not give: tiny (excellent)" in shown
    whole["tiny"]["verdict"] = verdict
    path.write_text(json.dumps({**whole, "mine": whole["tiny"]}))
    code, shown = verify(folder, capsys)
    assert code == 1
    assert "verdicts under a preset that did not demand the run: mine" in shown
    path.write_text(json.dumps(whole)[:-9])
    code, shown = verify(folder, capsys)
    assert code == 1
    assert "verdicts.json cannot be read" in shown
