"""The published leaderboard has a version, and its records do not change without another one."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import yaml

from reports.boards.building import build_boards
from reports.boards.version import published_note, version_of
from reports.tables.leaderboard import wide_table
from reports.tables.markdown import leaderboard_markdown
from results import load
from results.files import StoreError
from results.version import PUBLISHED, leaderboard_version, records_digest, released
from tests.conftest import REPOSITORY
from tests.reports.synthetic_runs import FakeRun, write_run


def test_published_records_are_those_of_their_version() -> None:
    version = (PUBLISHED / "VERSION").read_text(encoding="utf-8").strip()
    assert version == next(iter(released())), "VERSION is not the newest section of CHANGES.md"
    assert released()[version] == records_digest(), (
        "results/published/ has other records than its version: raise VERSION and add a section to CHANGES.md with the "
        f"line\nrecords: `{records_digest()}`"
    )


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A published folder with one row, released as 2.1."""
    folder = tmp_path / "published"
    write_run(folder / "digits", FakeRun("packnet"))
    (folder / "VERSION").write_text("2.1\n")
    (folder / "CHANGES.md").write_text(f"# Changes\n\n## 2.1\n\nrecords: `{records_digest(folder)}`\n\n- one row\n")
    return folder


def test_a_record_that_changes_is_told_apart(published: Path) -> None:
    assert leaderboard_version(published) == "2.1"
    before = records_digest(published)
    part = sorted(published.glob("digits/*/predictions/*.parquet"))[0]
    part.rename(part.with_name("other.parquet"))
    assert records_digest(published) != before
    assert leaderboard_version(published) == "2.1+changed"


def test_a_version_is_given_once(published: Path) -> None:
    changes = published / "CHANGES.md"
    changes.write_text(changes.read_text() + f"\n## 2.1\n\nrecords: `{'0' * 64}`\n")
    with pytest.raises(StoreError, match="two sections have the same version"):
        released(published)


def test_a_folder_without_a_version_has_none(tmp_path: Path) -> None:
    assert leaderboard_version(tmp_path) is None


def test_reports_show_the_version_beside_published_rows_alone(published: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "runs", FakeRun("mine", settings={"a": 1}))
    boards = build_boards(load(tmp_path / "runs", published))
    assert version_of(boards) == "2.1"
    table = wide_table(boards)
    assert table.columns[-1] == "leaderboard"
    assert dict(zip(table["label"], table["leaderboard"].fillna("n/a"), strict=True)) == {
        "mine": "n/a",
        "packnet": "2.1",
    }
    assert "not run here (leaderboard 2.1)." in leaderboard_markdown(boards, "")
    own = build_boards(load(tmp_path / "runs", None))
    assert version_of(own) is None
    assert published_note(own) == ""
    assert pd.isna(wide_table(own)["leaderboard"]).all()


def test_the_citation_is_that_of_the_software() -> None:
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert f'version = "{citation["version"]}"' in (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    assert citation["license"] == "MIT"
