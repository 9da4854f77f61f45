"""`report --presets`: the boards of some presets alone, as if nothing else were stored."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from benchmark import cli
from benchmark.commands import report
from results.files import read_json
from tests.reports.synthetic_runs import FakeRun, write_run


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs of `digits` and of `other`; both demand the first."""
    monkeypatch.setattr(report, "PUBLISHED", tmp_path / "published")
    folder = tmp_path / "runs"
    of_both = write_run(folder, FakeRun("packnet"))
    of_both.demand("other", read_json(of_both.directory / "config.json")["protocols"]["digits"])
    write_run(folder, FakeRun("cmat", quality=2.2))
    write_run(folder, FakeRun("trades", preset="other"))
    return folder


def reported(runs: Path, output: Path, *presets: str) -> int:
    return cli.main(["report", "--results", str(runs), "--output", str(output), "--presets", *presets])


def test_a_report_of_a_preset_has_its_board_alone(runs: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert reported(runs, output, "other") == 0
    board = pd.read_csv(output / "leaderboard.csv")
    assert set(board["preset"]) == {"other"}
    assert set(board["label"]) == {"packnet", "trades"}
    of_one = [path.name for folder in ("figures", "tables", "rows") for path in (output / folder).iterdir()]
    assert not [name for name in of_one if name.startswith("digits__")]


def test_a_preset_that_has_no_run_is_one_line_and_nothing_is_written(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reported(runs, tmp_path / "out", "digits", "othr") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert (
        line == "error: --presets 'othr': no run of this preset is stored; did you mean 'other'? (valid: digits, other)"
    )
    assert not (tmp_path / "out").exists()
