"""docs/verify.md is followed to the letter, and what it submits is in the report."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tests.docs.reader import Reader, copy_of_the_repository, page


@pytest.mark.slow
def test_the_page_finds_what_was_cut_and_its_images_count(tmp_path: Path) -> None:
    reader = Reader(copy_of_the_repository(tmp_path))
    reader.follow(page("verify"))
    output = reader.place / "reports" / "output"
    (row,) = pd.read_csv(output / "leaderboard.csv").to_dict("records")
    assert row["ACC_lopezpaz2017 worst"] < row["ACC_lopezpaz2017 pgd-5 linf 51/255 a=5.1/255 any"]
    sweep = pd.read_csv(output / "tables" / "verified__sweep.csv")
    assert list(sweep.loc[sweep["kind"] == "submitted", "samples"]) == list(
        sweep.loc[sweep["kind"] == "clean", "samples"]
    )
