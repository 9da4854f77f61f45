"""Merged parts are a shortcut for reading: they never say anything that the parts do not say."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest

from results import load
from results.merged import FEWEST, FOLDER, merge
from results.parts import parts_of
from tests.reports.synthetic_runs import FakeRun, write_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with more parts than are read one by one."""
    directory = write_run(tmp_path, FakeRun(), by_cell=True).directory
    assert len(list((directory / "predictions").iterdir())) >= FEWEST
    return directory


def frames(run: Path) -> list[pd.DataFrame]:
    found = load(run.parent, None).runs[0]
    return [found.predictions, found.evaluations]


def assert_same(before: list[pd.DataFrame], after: list[pd.DataFrame]) -> None:
    for first, second in zip(before, after, strict=True):
        pd.testing.assert_frame_equal(first, second)


def test_a_merged_run_reads_the_same_from_one_file_per_table(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = frames(run)
    merge(run)
    monkeypatch.setattr("results.records.read_parts", lambda paths, columns: pytest.fail("parts were opened"))
    stored = load(run.parent, None).runs[0]
    monkeypatch.undo()
    assert_same(before, [stored.predictions, stored.evaluations])


def test_what_was_merged_does_not_count_once_a_part_came_went_or_was_edited(run: Path) -> None:
    merge(run)
    part = sorted((run / "predictions").iterdir())[0]
    content, times = part.read_bytes(), part.stat()
    whole = frames(run)[0]

    part.unlink()
    assert len(frames(run)[0]) < len(whole)
    part.write_bytes(content)
    other = sorted((run / "predictions").iterdir())[1]
    # Edited in place: as long as before, at another time.
    part.write_bytes(other.read_bytes().ljust(len(content), b"\0")[: len(content)])
    os.utime(part, ns=(times.st_atime_ns, times.st_mtime_ns + 1))
    assert len(frames(run)[0]) < len(whole)


def test_a_run_that_grew_is_merged_again(run: Path) -> None:
    merge(run)
    part = sorted((run / "evaluations").iterdir())[0]
    part.unlink()
    merge(run)
    fewer = frames(run)[1]
    (run / FOLDER / "evaluations.parquet").unlink()
    pd.testing.assert_frame_equal(fewer, frames(run)[1])


def test_a_table_with_an_unreadable_part_is_not_merged_and_the_part_is_named(run: Path) -> None:
    part = sorted((run / "predictions").iterdir())[0]
    part.write_bytes(b"cut short")
    merge(run)
    assert not (run / FOLDER / "predictions.parquet").exists()
    stored = load(run.parent, None).runs[0]
    assert len(stored.predictions)
    assert [problem.path for problem in stored.problems] == [part]


def test_a_broken_merged_file_is_read_past(run: Path) -> None:
    before = frames(run)
    merge(run)
    for path in (run / FOLDER).iterdir():
        path.write_bytes(path.read_bytes()[:-7])
    assert_same(before, frames(run))
    merge(run)
    assert_same(before, frames(run))


def test_merging_where_nothing_can_be_written_says_nothing(run: Path) -> None:
    (run / FOLDER).write_text("a file stands where the folder would be")
    merge(run)
    assert len(frames(run)[0])


def test_whoever_worked_on_a_run_leaves_it_merged(tmp_path: Path) -> None:
    store = write_run(tmp_path, FakeRun(), by_cell=True)
    with store.working():
        pass
    assert {path.stem for path in (store.directory / FOLDER).iterdir()} == {"predictions", "evaluations"}


def test_a_part_that_a_worker_takes_away_meanwhile_is_no_reason_to_fail(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = parts_of(run, "predictions")
    listed[0].unlink()
    monkeypatch.setattr("results.merged.parts_of", lambda directory, table: listed)
    merge(run)
    assert not (run / FOLDER / "predictions.parquet").exists()
