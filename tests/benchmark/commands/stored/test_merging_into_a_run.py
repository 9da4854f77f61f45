"""Records merged into a run that is there: what was interrupted is made good, and nothing is there twice."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from benchmark.commands.stored import union
from benchmark.commands.stored.checked import NOWHERE
from benchmark.commands.verify.command import findings_in
from results import Run, load
from results.files import StoreError
from results.publishing.published import publish
from results.store import RunStore
from tests.benchmark.commands.stored.test_pack_and_merge import merge, only, pack
from tests.tiny import TINY, run_tiny

ROWS = [{"method": "standard"}]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run, and in `richer` the same run with one attack on more samples."""
    folder = tmp_path_factory.mktemp("source")
    assert run_tiny(folder, rows=ROWS) == 0
    (folder / "richer").mkdir()
    more = {**TINY["evaluation"], "final": [{"attack": "fgsm", "samples": 30}]}
    assert run_tiny(folder / "richer", rows=ROWS, evaluation=more) == 0
    return folder


@pytest.fixture
def folder(source: Path, tmp_path: Path) -> Path:
    shutil.copytree(source, tmp_path / "copy")
    return tmp_path / "copy"


def problems(folder: Path) -> list[str]:
    found = findings_in(only(folder), load(folder, None), NOWHERE)
    return [problem for finding in found for problem in finding.problems]


def test_a_merge_that_was_killed_between_the_two_files_of_a_part_is_made_good_by_the_same_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed, replace = pack(folder / "richer"), os.replace

    def killed(source: Path, target: Path) -> None:
        if Path(target).parent.name == "evaluations":
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(union.os, "replace", killed)
    assert merge(folder / "runs", packed) == 130
    monkeypatch.undo()
    assert problems(folder / "runs")
    assert merge(folder / "runs", packed) == 0
    assert not problems(folder / "runs")
    assert 30 in set(only(folder / "runs").evaluations["samples"])


def rows(run: Run) -> tuple[int, int]:
    return len(run.facts), len(run.training)


def published(folder: Path) -> Path:
    publish(only(folder / "runs"), folder / "published")
    return pack(folder, results="published")


def test_the_published_copy_of_a_run_adds_nothing_to_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed, before = published(folder), rows(only(folder / "runs"))
    capsys.readouterr()
    assert merge(folder / "runs", packed) == 0
    assert "nothing that is not here" in capsys.readouterr().out
    assert rows(only(folder / "runs")) == before


def test_a_run_adds_nothing_to_its_published_copy_but_weights(folder: Path) -> None:
    published(folder)
    before = rows(only(folder / "published"))
    assert merge(folder / "published", pack(folder)) == 0
    assert rows(only(folder / "published")) == before


def test_of_a_published_copy_only_the_rows_that_are_lacking_are_added(folder: Path) -> None:
    packed, complete = published(folder), only(folder / "runs")
    before = rows(complete)
    (complete.directory / "facts" / "cost.parquet").unlink()
    sorted((complete.directory / "training").glob("*.parquet"))[0].unlink()
    shutil.rmtree(complete.directory / "merged", ignore_errors=True)
    assert rows(only(folder / "runs")) < before
    assert merge(folder / "runs", packed) == 0
    assert rows(only(folder / "runs")) == before
    assert not problems(folder / "runs")


def test_a_run_that_cannot_be_written_keeps_no_other_from_being_taken_in(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for method in ("madry_at", "trades"):
        assert run_tiny(folder, rows=[{"method": method}]) == 0
    packed, moved_in, asked = pack(folder), RunStore.move_in, []

    def full(store: RunStore, source: Path) -> None:
        asked.append(store)
        if len(asked) == 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(source))
        if len(asked) == 2:
            raise StoreError(f"{source}: cannot be written")
        moved_in(store, source)

    monkeypatch.setattr(RunStore, "move_in", full)
    capsys.readouterr()
    assert merge(folder / "new", packed) == 1
    said = capsys.readouterr().out
    assert said.count("failed: ") == 2
    assert ": new, " in said
    assert len(load(folder / "new", None).runs) == 1
