"""Planted defects at full strength are off the ranking for the reason meant; honest rows are on it and nothing fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from reports.checks.verdicts import CHECKS
from tests.defects.calibrating import Calibration, Found
from tests.defects.calibration import main
from tests.defects.catalogue import CARRIER, CATALOGUE, HONEST, UNDEFENDED
from tests.defects.defect import PLUGINS, PlantedDefect
from tests.defects.numbers import QUANTITIES, number
from tests.defects.small import CHOSEN


@pytest.mark.parametrize("planted", [p for p in CHOSEN if p.full], ids=lambda planted: planted.label)
def test_a_planted_defect_is_off_the_ranking_for_the_reason_meant(
    found: dict[str, list[Found]], ranked: dict[str, set[str]], calibration: Calibration, planted: PlantedDefect
) -> None:
    (row,) = found[planted.label]
    assert set(row.failing()) & set(planted.meant), row.failing()
    assert (CARRIER if planted.attack else planted.label) not in ranked[calibration.board_of(planted)]


@pytest.mark.parametrize("label", [*HONEST, *UNDEFENDED])
def test_an_honest_row_is_on_the_ranking_and_no_check_fails(
    found: dict[str, list[Found]], ranked: dict[str, set[str]], calibration: Calibration, label: str
) -> None:
    (row,) = found[label]
    assert row.failing() == []
    assert label in ranked[calibration.name]


@pytest.mark.parametrize("planted", [p for p in CHOSEN if p.is_harmless], ids=lambda planted: planted.label)
def test_what_does_no_harm_is_no_defect(
    found: dict[str, list[Found]], ranked: dict[str, set[str]], calibration: Calibration, planted: PlantedDefect
) -> None:
    (row,) = found[planted.label]
    assert row.failing() == []
    assert planted.label in ranked[calibration.name]


def test_every_defect_is_meant_for_a_check_that_exists() -> None:
    assert {name for planted in CATALOGUE for name in planted.meant} <= {check.name for check in CHECKS}


def test_every_defect_has_one_full_strength_and_weaker_ones() -> None:
    for defect in {planted.defect for planted in CATALOGUE if not planted.is_harmless}:
        strengths = [planted.full for planted in CATALOGUE if planted.defect == defect]
        assert strengths.count(True) == 1
        assert len(strengths) > 1


def test_every_row_of_the_catalogue_has_a_label_and_a_plugin_of_its_own() -> None:
    labels = [planted.label for planted in CATALOGUE]
    assert len(set(labels)) == len(labels)
    assert {planted.path for planted in CATALOGUE} == set(PLUGINS.rglob("*.py"))


def test_every_check_has_a_number_and_it_is_read_from_what_the_check_really_says(found: dict[str, list[Found]]) -> None:
    assert set(QUANTITIES) == {check.name for check in CHECKS}
    told = [each for label in HONEST for row in found[label] for each in row.verdicts if each.evidence]
    unread = {each.check: each.evidence for each in told if number(each) is None}
    # A contract that was kept has no refusals to count, only evaluations.
    assert set(unread) <= {"eval_mode", "head_sliced", "outputs_are_logits"}
    assert len({each.check for each in told}) > 20


def test_the_command_tells_of_what_is_stored(
    calibration: Calibration, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "tables.md"
    arguments = ["--preset", calibration.preset, "--seeds", "0", "--results", str(calibration.results), "--read-only"]
    assert main([*arguments, "--only", "logits scaled, x1000", "--output", str(output)]) == 0
    assert output.read_text() == capsys.readouterr().out
    assert "| logits scaled | x1000 | unbounded or rescaled_logits | 1 of 1 [21, 100] % |" in output.read_text()
