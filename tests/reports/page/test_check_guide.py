"""The pages that explain the checks: they hold every check, and docs/checks.md is what the checks say of themselves."""

from pathlib import Path

import pytest

from reports.boards.building import build_boards
from reports.checks.verdicts import CHECKS
from reports.page import check_guide
from results import load
from tests.reports.quick_report import quick_report
from tests.reports.synthetic_runs import FakeRun, probe_facts, unbounded, write_run

PAGE = Path(__file__).parents[3] / "docs" / "checks.md"


def test_the_documentation_is_what_the_checks_say_of_themselves():
    text = PAGE.read_text(encoding="utf-8")
    assert check_guide.with_guide(text) == text, "run `python -m reports.page.check_guide`"


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_every_check_says_what_it_asks_where_its_threshold_is_why_and_what_it_was_tested_on(check):
    for words in (check.question, check.measures, check.threshold, check.why, check.planted):
        assert words
        assert words == " ".join(words.split())
    assert check.question.endswith("?")
    assert check.cost in ("always", "final", "deep")


def test_a_page_without_a_place_for_the_guide_is_refused():
    with pytest.raises(ValueError, match="no place for the guide"):
        check_guide.with_guide("# Checks\n")


def test_the_page_of_checks_shows_every_row_by_every_check_and_escapes_what_is_stored(tmp_path):
    write_run(tmp_path / "runs", FakeRun(label="mine <b>", facts=probe_facts(3, repeat=0.5), checks=[unbounded()]))
    report = quick_report(load(tmp_path / "runs", None), tmp_path / "out")
    page = (tmp_path / "out" / "checks.html").read_text(encoding="utf-8")
    assert "mine &lt;b&gt;" in page
    assert "mine <b>" not in page
    assert all(
        f'id="{check.name}"' in page and check.planted.split(",")[0][:20] in page
        for check in CHECKS
        if "'" not in check.planted
    )
    assert "answers differently when asked twice" in page
    assert 'href="checks.html"' in report.page.read_text(encoding="utf-8")


def test_of_several_seeds_the_worst_is_shown(tmp_path):
    for seed, difference in ((0, 0.0), (1, 0.5)):
        write_run(tmp_path / "runs", FakeRun(seed=seed, facts=probe_facts(3, repeat=difference)))
    (board,) = build_boards(load(tmp_path / "runs", None))
    shown = {name: check_guide.status_of(board.rows[0], name)[0] for name in ("repeatable", "batch_independent")}
    assert shown == {"repeatable": "fail", "batch_independent": "pass"}
    assert board.rows[0].checks["fail"] == 1
