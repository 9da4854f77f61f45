"""The calibration counts what the boards say, and reads the number behind every verdict."""

from __future__ import annotations

from pathlib import Path

import pytest

from reports.checks.verdicts import FAIL, NOT_RUN, PASS, WARN, Verdict
from tests.defects.calibrating import Found
from tests.defects.calibration import main
from tests.defects.catalogue import CARRIER, CATALOGUE
from tests.defects.defect import PEEKED, PlantedDefect
from tests.defects.tables import alarm_table, detection_table, gain, gap_table, kind_table, to_markdown, truth


def verdict(check: str, status: str, evidence: str = "") -> Verdict:
    return Verdict(check, "", "<= 1", evidence, status, "")


def seeds_of(label: str, *statuses: dict[str, str]) -> list[Found]:
    """One seed for each of `statuses`: check → status."""
    return [
        Found(label, seed, tuple(verdict(check, status) for check, status in each.items()), 0.5)
        for seed, each in enumerate(statuses)
    ]


DEFECT = PlantedDefect("noise", "a lot", ("repeatable",), "noisy")
OTHER = PlantedDefect("noise", "a little", ("repeatable", "unbounded"), "noisy")


def test_a_defect_counts_as_found_where_a_check_meant_for_it_fails_and_as_warned_of_where_one_only_warns() -> None:
    found = {
        CARRIER: seeds_of(CARRIER, {"converged": WARN}),
        DEFECT.label: seeds_of(
            DEFECT.label,
            {"repeatable": FAIL},
            {"repeatable": WARN, "converged": WARN, "loss_rises": WARN},
            {"repeatable": PASS, "failures": FAIL},
        ),
        OTHER.label: seeds_of(OTHER.label, {"repeatable": WARN, "unbounded": FAIL}),
    }
    first, second = detection_table([DEFECT, OTHER], found)
    assert first["found by it"] == "1 of 3 [6, 79] % (and 1 warned of)"
    assert first["off the ranking"] == "2 of 3 [21, 94] %"
    # A warning that the honest networks get too is no finding.
    assert first["other checks that fired"] == "failures 1, loss_rises 1 (warned)"
    assert second["found by it"] == "1 of 1 [21, 100] %"


def test_alarms_are_counted_by_check_and_named() -> None:
    found = {"a": seeds_of("a", {"converged": WARN}, {"converged": PASS}), "b": seeds_of("b", {"converged": NOT_RUN})}
    every, row = alarm_table(["a", "b"], found)
    assert [row[status] for status in (PASS, WARN, NOT_RUN)] == ["1", "1", "1"]
    # Of the two rows on which the check was run.
    assert row[FAIL] == "0 of 2 [0, 66] %"
    assert row["alarms (row and seed)"] == "a 0"
    assert [every[status] for status in (PASS, WARN, FAIL)] == ["2", "1", "0 of 3 [0, 56] %"]


def test_of_a_defect_in_all_strengths_those_that_gain_something_are_counted_apart() -> None:
    found = {
        CARRIER: seeds_of(CARRIER, {"converged": PASS}),
        DEFECT.label: [Found(DEFECT.label, 0, (verdict("repeatable", FAIL),), 0.5, true=0.4)],
        OTHER.label: [Found(OTHER.label, 0, (verdict("repeatable", WARN),), 0.5, true=0.495)],
    }
    (row,) = kind_table([DEFECT, OTHER], found)
    assert row["off the ranking"] == "1 of 2 [9, 91] %"
    assert row["of those that gain more than 1 point"] == "1 of 1 [21, 100] %"
    assert (row["largest gain, points"], row["ranked"]) == ("+10.0", "a little 0")


def test_of_a_method_that_saw_test_images_the_same_networks_without_them_tell_the_truth() -> None:
    peeking = PlantedDefect("test images", "all", PEEKED, "peeking")
    seen = Found(peeking.label, 0, (), 0.9, true=0.9)
    honest = {0: Found(CARRIER, 0, (), 0.6, true=0.55)}
    assert truth(peeking, seen, honest) == 0.6
    assert gain(peeking, seen, honest) == pytest.approx(30)
    assert truth(DEFECT, seen, honest) == 0.9
    # The adaptive attack takes five points from the honest networks too.
    assert gain(DEFECT, seen, honest) == pytest.approx(-5)


def test_both_sides_of_a_threshold_stand_side_by_side() -> None:
    def asked_twice(label: str, *differences: str) -> list[Found]:
        verdicts = [verdict("repeatable", PASS, f"task 0: {difference}") for difference in differences]
        return [Found(label, seed, (each,), 0.5) for seed, each in enumerate(verdicts)]

    found = {"a": asked_twice("a", "0", "1e-09"), DEFECT.label: asked_twice(DEFECT.label, "0.25", "0.5")}
    (row,) = gap_table(["a"], [DEFECT], found)
    assert (row["honest"], row["planted"]) == ("0 .. 1e-09", f"{DEFECT.label}: 0.25 .. 0.5")


def test_a_table_is_markdown() -> None:
    assert to_markdown([{"a": "1", "b": "x | y"}]) == "| a | b |\n| --- | --- |\n| 1 | x \\| y |"


@pytest.mark.parametrize(
    "arguments",
    [["--preset", "digit"], ["--honest", "madry"], ["--set", "recipe.epoch=1"], ["--only", "nothing of this"]],
)
def test_a_wrong_command_ends_with_one_line(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--results", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert not list(tmp_path.rglob("config.json"))


def test_more_than_half_of_the_catalogue_is_weaker_than_full_strength() -> None:
    assert sum(not planted.full for planted in CATALOGUE) > len(CATALOGUE) / 2
