"""The report page in use: by mouse, by keyboard, on paper, on a telephone, and without JavaScript."""

from __future__ import annotations

import csv
import json
import re
from urllib.parse import quote

import pytest

from reports.write import write_report
from results import load
from tests.browser.conftest import FAILURE, HOSTILE
from tests.reports.synthetic_runs import FakeRun, write_run

DIGITS = 'section[data-preset="digits"]'
FGSM = "fgsm linf 51/255"


def labels(page, section=DIGITS):
    """The labels that can be seen, from top to bottom."""
    rows = page.locator(f"{section} tbody.row:visible > tr:first-child > th")
    return [text.strip() for text in rows.all_inner_texts()]


def header(page, name, section=DIGITS):
    return page.locator(section).get_by_role("button", name=re.compile(f"^{re.escape(name)}"))


def values(page, key, section=DIGITS):
    cells = page.locator(f'{section} tbody.ranked > tr:first-child > [data-key="{key}"]')
    return [cell.get_attribute("data-value") for cell in cells.all()]


def row(page, label, section=DIGITS):
    return page.locator(section).get_by_role("button", name=label, exact=True)


def details(page):
    return page.locator("tr.detail:visible")


def focused(page):
    return page.evaluate("document.activeElement.name || document.activeElement.innerText")


def wide(page):
    return page.evaluate("document.documentElement.scrollWidth - innerWidth")


# -- sorting and filtering --------------------------------------------------------------------------------------------


def test_every_column_sorts_both_ways_and_says_so(opened):
    page = opened()
    assert page.locator(f"{DIGITS} [aria-sort=descending]").inner_text().startswith("ACC worst")
    for key in ("worst", "clean", "robust", "f_clean", "f_robust", "train", "mb", "seeds", "rank", "verdict"):
        button = page.locator(f'{DIGITS} .leaderboard > thead [data-key="{key}"] button')
        for _ in range(2):
            button.click()
            order = page.locator(f'{DIGITS} [data-key="{key}"][aria-sort]').get_attribute("aria-sort")
            found = [float(value) for value in values(page, key) if value]
            assert found == sorted(found, reverse=order == "descending"), (key, order)
            assert "" not in values(page, key)[: len(found)], "what is not available comes last in both orders"
    # A row that learned all tasks at once forgets nothing that could be measured.
    assert values(page, "f_clean").count("") == 1


def test_sorting_by_keyboard_keeps_the_line(opened):
    page = opened()
    before = labels(page)
    header(page, "label").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Space")
    assert page.locator(f"{DIGITS} [aria-sort=descending]").inner_text().startswith("label")
    found = labels(page)
    assert found[:4] == ["packnet", "joint_at", "cmat", HOSTILE]
    assert found[4:] == ["unfinished", "trades"]
    line = page.locator(f"{DIGITS} tbody.line")
    assert line.evaluate("each => each.previousElementSibling.dataset.label") == HOSTILE
    assert page.locator(f"{DIGITS} tbody.row:last-child .reason").is_visible()
    assert before != found


def test_rows_that_share_a_rank_say_so(opened):
    page = opened()
    ranks = page.locator(f'{DIGITS} tbody.row > tr:first-child > [data-key="rank"]').all_inner_texts()
    assert ranks == ["1=", "1=", "3", "4", "–", "–"]
    assert "cannot be told apart, which is no sign that they are equal" in page.locator(DIGITS).inner_text()
    row(page, "packnet").click()
    assert "Cannot be told apart from cmat" in details(page).inner_text()


def test_filters(opened):
    page = opened()
    page.get_by_label("Scenario", exact=True).select_option("photographs")
    assert (labels(page), len(labels(page, '[data-preset="other"]'))) == ([], 2)
    page.get_by_label("Scenario", exact=True).select_option("")
    page.get_by_label("Preset", exact=True).select_option("digits")
    assert (len(labels(page)), labels(page, '[data-preset="other"]')) == (6, [])
    page.get_by_label("Method", exact=True).select_option("packnet")
    assert labels(page) == ["packnet", "unfinished"]
    assert "2 of 8 rows" in page.locator("output").inner_text()
    page.get_by_label("Label contains", exact=True).fill("UNFIN")
    assert labels(page) == ["unfinished"]
    page.get_by_label("Label contains", exact=True).fill("nobody")
    assert "No row matches" in page.locator("output").inner_text()
    page.get_by_role("button", name="Reset").click()
    assert len(labels(page)) == 6


def test_an_attack_has_a_column_with_intervals_and_sorts(opened, report):
    page = opened()
    assert not page.locator('[data-key="attack"]:visible').count()
    page.get_by_label("Attack", exact=True).select_option(FGSM)
    header(page, "ACC fgsm").click()
    found = [float(value) for value in values(page, "attack")]
    with (report / "leaderboard.csv").open(encoding="utf-8") as file:
        table = {each["label"]: each for each in csv.DictReader(file) if each["preset"] == "digits"}
    stored = [float(table[label][f"ACC_lopezpaz2017 {FGSM}"]) for label in labels(page)[:4]]
    assert found == [pytest.approx(100 * value, abs=0.051) for value in stored]
    assert found == sorted(found, reverse=True)
    first = page.locator(f'{DIGITS} tbody.ranked [data-key="attack"]').first.inner_text()
    assert re.fullmatch(r"\d+\.\d\s+\[\d+\.\d, \d+\.\d\]", first)
    assert page.locator('[data-preset="other"] tbody.row [data-key="attack"]').first.inner_text() == "n/a"
    page.get_by_label("Attack", exact=True).select_option("")
    assert page.locator(f"{DIGITS} [aria-sort=descending]").inner_text().startswith("ACC worst")


# -- details ----------------------------------------------------------------------------------------------------------


def test_a_row_opens_and_closes_by_mouse_and_keyboard(opened):
    page = opened()
    button = row(page, "cmat")
    button.click()
    assert button.get_attribute("aria-expanded") == "true"
    assert details(page).count() == 1
    for words in (
        "python run_benchmark.py run --preset digits --methods cmat --seeds 0 1 2",
        "passed",
        "not run",
        "Wilson",
    ):
        assert words in details(page).inner_text()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    assert not details(page).count()
    assert focused(page) == "cmat"
    page.keyboard.press("Enter")
    assert details(page).count() == 1
    page.keyboard.press("Space")
    assert not details(page).count()
    assert button.get_attribute("aria-expanded") == "false"


def test_the_command_can_be_copied_and_the_entry_is_there(opened, report):
    page = opened()
    row(page, "cmat").click()
    page.get_by_role("button", name="Copy").click()
    page.wait_for_function("/Copied|Selected/.test(document.querySelector('.detail.open .command button').textContent)")
    link = details(page).get_by_role("link", name="rows").get_attribute("href")
    entry = json.loads((report / link).read_text(encoding="utf-8"))
    assert details(page).locator("pre").all_inner_texts() == entry["command"]


def test_the_tab_key_goes_through_the_page_in_reading_order(opened):
    page = opened()
    found = []
    for _ in range(32):
        page.keyboard.press("Tab")
        found.append(focused(page).split("\n")[0].strip())
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none", found[-1]
    expected = [
        "Dark colours",
        "leaderboard.csv",
        "the checks",
        "digits",
        "scenario",
        "preset",
        "method",
        "attack",
        "label",
    ]
    expected += ["Reset", "rank", "ACC worst", "MB", *labels(page)[:3]]
    places = [found.index(each) for each in expected]
    assert places == sorted(places)


def test_the_url_holds_the_view(opened):
    page = opened()
    page.get_by_label("Preset", exact=True).select_option("digits")
    page.get_by_label("Attack", exact=True).select_option(FGSM)
    header(page, "ACC clean").click()
    header(page, "ACC clean").click()
    row(page, "cmat").click()
    again = opened("#" + page.url.partition("#")[2])
    assert labels(again) == labels(page)
    assert again.get_by_label("Attack", exact=True).input_value() == FGSM
    assert again.locator(f"{DIGITS} [aria-sort=ascending]").inner_text().startswith("ACC clean")
    assert details(again).count() == 1
    again.get_by_role("button", name="Reset").click()
    assert "#" not in again.url


def test_a_url_that_asks_for_what_is_not_there_shows_everything(opened):
    page = opened(f"#method=nobody&sort=constructor&order=up&open=x&attack={quote(HOSTILE)}")
    assert len(labels(page)) == 6
    assert not details(page).count()
    assert page.locator(f"{DIGITS} [aria-sort=descending]").inner_text().startswith("ACC worst")


def test_an_anchor_stays_a_place(opened):
    page = opened("#board-2")
    assert page.url.endswith("#board-2")
    assert len(labels(page)) == 6


# -- for everybody ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_with_a_row_open(opened, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    page = opened(f"#attack={quote(FGSM)}", color_scheme=scheme)
    for label in ("cmat", "trades"):
        row(page, label).click()
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 200) == (scheme == "dark")
    results = axe.Axe().run(page)
    assert not results.violations_count, results.generate_report()


def test_the_colours_are_the_readers_choice_and_remembered(opened):
    page = opened(color_scheme="light")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name="Dark colours").click()
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.reload()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark != light
    assert page.get_by_role("button", name="Light colours").is_visible()


def test_paper_shows_reasons_and_open_rows_and_no_controls(opened):
    page = opened(color_scheme="dark")
    row(page, "cmat").click()
    page.emulate_media(media="print")
    assert page.locator(f"{DIGITS} .reason", has_text=FAILURE).is_visible()
    assert "Accuracy" in details(page).inner_text() or "Metrics" in details(page).inner_text()
    assert not page.locator("form.controls").is_visible()
    assert not page.get_by_role("button", name="colours").is_visible()
    inks = page.evaluate(
        "[...document.querySelectorAll('.reason div, .verdict')].map(each => getComputedStyle(each).color)"
    )
    assert set(inks) == {"rgb(0, 0, 0)"}
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_a_telephone_scrolls_tables_and_not_the_page(opened):
    page = opened(viewport={"width": 400, "height": 800})
    assert wide(page) <= 0
    row(page, "cmat").click()
    row(page, "trades").click()
    assert wide(page) <= 0
    assert details(page).first.locator(".fitted").bounding_box()["width"] <= 400
    assert page.locator(f"{DIGITS} .reason .fitted").first.bounding_box()["width"] <= 400
    assert page.locator(f"{DIGITS} .scroll:has(table.leaderboard)").first.evaluate(
        "each => each.scrollWidth > each.clientWidth"
    )


def test_without_javascript_it_is_a_table_with_details(opened):
    page = opened(java_script_enabled=False)
    assert labels(page)[2:] == [HOSTILE, "joint_at", "trades", "unfinished"]
    assert not page.locator("form.controls").is_visible()
    assert page.locator(".reason", has_text=FAILURE).is_visible()
    assert not page.locator(f"{DIGITS} .command").first.is_visible()
    page.locator(f"{DIGITS} summary").first.click()
    assert page.locator(f"{DIGITS} .command").first.is_visible()


def test_records_are_text_wherever_they_stand(opened):
    page = opened()
    assert HOSTILE in labels(page)
    row(page, HOSTILE).click()
    assert f"--methods '{HOSTILE}'" in details(page).inner_text()
    assert page.locator("script").count() == 3


@pytest.mark.parametrize("runs", [[], [FakeRun()], [FakeRun(learned=1)]], ids=["nothing", "one row", "none ranked"])
def test_small_reports_work(opened, tmp_path, runs):
    for fake in runs:
        write_run(tmp_path / "runs", fake)
    output = write_report(load(tmp_path / "runs", None), tmp_path / "out").output
    page = opened(path=output / "index.html")
    words = {0: "No results yet", 1: "ACC worst"}[len(runs)]
    assert words in page.locator("main").inner_text()
    if runs:
        row(page, "naive").click()
        assert details(page).count() == 1
        assert page.locator("tbody.line").count() == (runs[0].learned is not None)
