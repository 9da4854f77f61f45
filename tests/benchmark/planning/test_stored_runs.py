"""Stored runs as a user names them."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.errors import ConfigError
from benchmark.planning.stored_runs import find_stored_run
from results import Results, load
from results.records import demands_path
from tests.reports.synthetic_runs import FakeRun, write_run


@pytest.fixture
def stored(tmp_path: Path) -> Results:
    """Runs of one label on two boards, and one whose label is the beginning of another one's hash."""
    first = write_run(tmp_path, FakeRun(label="cmat", preset="digits"))
    write_run(tmp_path, FakeRun(label="cmat", preset="fashion", seed=1))
    write_run(tmp_path, FakeRun(label=first.directory.name[:4], seed=2))
    return load(tmp_path, None)


def found(stored: Results, name: str, preset: str = "") -> int:
    return find_stored_run(name, stored, Path("runs"), preset).seed


def test_a_label_that_several_boards_have_is_told_apart_by_the_preset(stored: Results) -> None:
    assert found(stored, "cmat", "digits") == 0
    assert found(stored, "cmat", "fashion") == 1
    with pytest.raises(ConfigError, match="more than one, so name it by its hash"):
        found(stored, "cmat")
    with pytest.raises(ConfigError, match="more than one"):
        found(stored, "cmat", "another.yaml")


def test_a_label_is_what_it_says_even_if_a_hash_begins_like_it(stored: Results) -> None:
    first = next(run for run in stored.runs if run.seed == 0)
    assert found(stored, first.hash) == found(stored, first.directory.name) == found(stored, first.hash[:6]) == 0
    assert found(stored, first.hash[:4]) == 2
    with pytest.raises(ConfigError, match="no such run"):
        found(stored, "zzz")


def test_damaged_notes_of_a_demand_are_told_and_the_rest_is_read(tmp_path: Path) -> None:
    store = write_run(tmp_path, FakeRun())
    (run,) = load(tmp_path, None).runs
    path = demands_path(tmp_path, run.hash)
    path.parent.mkdir()
    path.write_text("[1]")
    stored = load(tmp_path, None)
    assert [run.directory for run in stored.runs] == [store.directory]
    assert [str(problem) for problem in stored.unreadable] == [f"{path}: not the demands on a run"]
