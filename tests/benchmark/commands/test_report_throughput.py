"""Made-up records of any size: reports take them for real ones, so what they are timed on is what users have."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.commands.timing import reports as report_throughput
from benchmark.commands.timing.generated_records import SAMPLES, Size, generate
from benchmark.planning.presets import load_preset
from reports.boards.building import build_boards
from results import load


def test_generated_rows_are_complete_and_ranked_under_all_attacks_of_the_preset(tmp_path: Path) -> None:
    preset = load_preset("cifar100-full")
    count = generate(tmp_path, preset, Size(methods=3, seeds=2, tasks=2))
    stored = load(tmp_path, None)
    assert sum(len(run.predictions) for run in stored.runs) == count
    (board,) = build_boards(load(tmp_path, None))
    assert len(board.ranked) == 3
    assert set(board.demanded) == {demand.attack.name for demand in preset.final}
    outcomes = board.rows[0].seeds[0].evidence.outcomes
    assert [len(ids) for ids in outcomes.samples] == [SAMPLES, SAMPLES]


def test_the_command_says_how_long_a_report_of_them_takes_and_how_large_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--methods", "1", "--seeds", "1", "--tasks", "1", "--keep", str(tmp_path / "kept")]
    monkeypatch.setattr("sys.argv", ["report_throughput", *arguments])
    assert report_throughput.main() == 0
    said = capsys.readouterr().out
    assert "predictions in 1 run (" in said
    assert "GB at its peak; index.html" in said
    with pytest.raises(SystemExit):
        report_throughput.main()
    assert "exists already" in capsys.readouterr().err
