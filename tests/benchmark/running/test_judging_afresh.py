"""Classifiers that remember what they were asked, and methods that keep old ones elsewhere, are found by a confined process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark.learning.confined import process as confined
from benchmark.learning.handed_over import Shelf
from benchmark.running import execution, judging_afresh
from reports.boards.building import judged
from reports.checks.check import FAIL, NOT_RUN, PASS, WARN, Verdict
from results import Run, load
from results.schema import AFRESH
from tests.benchmark.learning import planted_memories
from tests.conftest import CONFINED_PROCESS
from tests.tiny import run_tiny

HONEST = "madry_at"
REMEMBERING = [f"remembers_{name}" for name in planted_memories.MEMORIES]
KEEPING = [f"keeps_{name}" for name in planted_memories.PLACES]

Verdicts = dict[str, dict[str, Verdict]]


def verdicts_of(folder: Path) -> Verdicts:
    """By label and by name of the check."""
    found = judged(load(folder, None), "tiny")
    return {each.evidence.label: {verdict.check: verdict for verdict in each.verdicts} for each in found}


def run_of(folder: Path) -> Run:
    (run,) = load(folder / "runs", None).runs
    return run


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Verdicts]:
    folder = tmp_path_factory.mktemp("memories")
    plugins = planted_memories.write(folder)
    working = folder / "working"
    working.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(confined, "ConfinedProcess", CONFINED_PROCESS)
        patch.chdir(working)
        rows = [{"method": HONEST}, *({"method": path} for path in plugins.values())]
        assert run_tiny(folder, rows=rows) == 0
        yield verdicts_of(folder / "runs")


def test_an_honest_row_passes(verdicts: Verdicts) -> None:
    assert verdicts[HONEST]["judged_afresh"].status == PASS


@pytest.mark.parametrize("name", REMEMBERING)
def test_a_classifier_that_remembers_what_it_was_asked_fails(verdicts: Verdicts, name: str) -> None:
    found = verdicts[name]["judged_afresh"]
    assert found.status == FAIL
    assert "had seen nothing" in found.reason
    assert found.samples


@pytest.mark.parametrize("name", KEEPING)
def test_a_method_that_keeps_old_classifiers_in_files_proves_nothing(verdicts: Verdicts, name: str) -> None:
    place = name.removeprefix("keeps_")
    for check in ("unforgetting", "judged_afresh"):
        found = verdicts[name][check]
        assert found.status == FAIL
        assert f"{place}-" in found.reason
    assert verdicts[name]["failures"].status == PASS


def test_code_that_was_edited_while_the_run_went_on_fails_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The confined process imports what the repository holds before it is confined. Here all code is younger than the run."""
    monkeypatch.setattr(confined, "ConfinedProcess", CONFINED_PROCESS)
    monkeypatch.setattr(execution, "provenance", lambda machine: {"started_at": "2000-01-01T00:00:00+00:00"})
    assert run_tiny(tmp_path, ["packnet"]) == 0
    found = verdicts_of(tmp_path / "runs")["packnet"]
    assert found["judged_afresh"].status == found["unforgetting"].status == PASS


# -- what is kept until it is judged ----------------------------------------------------------------------------------------


def facts_of(run: Run) -> list[dict[str, Any]]:
    return run.facts[run.facts["phase"] == AFRESH].to_dict("records")


def test_images_are_kept_until_they_are_judged_and_no_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("benchmark.running.execution.judge_afresh", killed)
        with pytest.raises(KeyboardInterrupt):
            run_tiny(tmp_path)
    run = run_of(tmp_path)
    assert list((run.directory / "handed_over").iterdir())
    assert facts_of(run) == []
    assert run_tiny(tmp_path) == 0
    assert not (run.directory / "handed_over").exists()
    assert verdicts_of(tmp_path / "runs")[HONEST]["judged_afresh"].status == PASS


def test_a_crash_is_a_failure_and_the_same_command_judges_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*arguments: Any) -> None:
        raise RuntimeError("planted")

    with monkeypatch.context() as patch:
        patch.setattr(judging_afresh.afresh, "judge", crash)
        assert run_tiny(tmp_path) == 1
    assert verdicts_of(tmp_path / "runs")[HONEST]["judged_afresh"].status == FAIL
    assert run_tiny(tmp_path) == 0
    assert verdicts_of(tmp_path / "runs")[HONEST]["judged_afresh"].status == PASS


def test_cells_that_were_attacked_before_are_not_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Shelf, "put", lambda *arguments: None)
        assert run_tiny(tmp_path) == 0
    assert verdicts_of(tmp_path / "runs")[HONEST]["judged_afresh"].status == NOT_RUN
    more = [{"attack": "pgd", "steps": 3, "step_size": "eps/2"}]
    assert run_tiny(tmp_path, evaluation={"final": more}) == 0
    found = verdicts_of(tmp_path / "runs")[HONEST]["judged_afresh"]
    assert found.status == NOT_RUN
    assert "attacked before" in found.reason


def test_attacks_that_are_added_later_are_judged_beside_the_others(tmp_path: Path) -> None:
    assert run_tiny(tmp_path, evaluation={"final": []}) == 0
    before = {fact["text"] for fact in facts_of(run_of(tmp_path))}
    assert run_tiny(tmp_path, evaluation={"final": [{"attack": "fgsm"}]}) == 0
    after = {fact["text"] for fact in facts_of(run_of(tmp_path))}
    assert before < after
    assert verdicts_of(tmp_path / "runs")[HONEST]["judged_afresh"].status == PASS


def test_a_run_that_is_not_attacked_is_judged_by_nobody(tmp_path: Path) -> None:
    """A prerequisite is learned alone."""
    row = {"method": "cmat", "settings": {"ratios": [0.5], "prune_epochs": 1, "retrain_epochs": 1}}
    assert run_tiny(tmp_path, rows=[row]) == 0
    for run in load(tmp_path / "runs", None).runs:
        assert bool(facts_of(run)) == (run.method == "cmat")


def test_a_machine_that_confines_nothing_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refused(confined.Here):
        def __enter__(self) -> confined.Here:
            raise confined.CannotConfine("no audit hooks here")

    monkeypatch.setattr(confined, "ConfinedProcess", Refused)
    assert run_tiny(tmp_path, ["packnet"]) == 0
    found = verdicts_of(tmp_path / "runs")["packnet"]
    # A row may be of a method that claims nothing, so that only a claim that nobody could prove is warned of.
    for check, status in (("judged_afresh", NOT_RUN), ("unforgetting", WARN)):
        assert found[check].status == status
        assert "no audit hooks here" in found[check].reason


def test_the_environment_of_this_process_is_left_alone(tmp_path: Path) -> None:
    here, variables, threads = os.getcwd(), dict(os.environ), torch.get_num_threads()
    assert run_tiny(tmp_path) == 0
    assert (os.getcwd(), dict(os.environ), torch.get_num_threads()) == (here, variables, threads)
