"""Labels of stored records as every output shows them: nothing that is written there is obeyed, and no row breaks."""

import csv
import io
import re
from pathlib import Path

import pandas as pd
import pytest
from markdown_it import MarkdownIt
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from reports.console import PlainConsole
from reports.tables.markdown import markdown_table, markdown_text
from reports.tables.words import to_csv
from reports.terminal import print_report
from reports.write import Report
from results import load
from tests.reports.quick_report import quick_report
from tests.reports.synthetic_runs import FakeRun, write_run

STORED = {
    "[/]": "[/]",
    "[red]x[/red]": "[red]x[/red]",
    ":+1: :smile:": ":+1: :smile:",
    "two\nlines | and\r\ncells": r"two\nlines | and\r\ncells",
    "\x1b[31mred\x1b[0m \x07": r"\x1b[31mred\x1b[0m \x07",
    "=cmd|' /C calc'!A0": "=cmd|' /C calc'!A0",
    "+1+1": "+1+1",
    "@SUM(1)": "@SUM(1)",
    "\u202egnp.exe": r"\u202egnp.exe",
    " ": "(no label)",
    "&lt;b&gt; $x^$ ~~y~~": "&lt;b&gt; $x^$ ~~y~~",
    "_under": "_under",
    "方法 é": "方法 é",
}
"""Stored labels, and how they are shown."""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    root = tmp_path_factory.mktemp("labels")
    for k, label in enumerate(STORED):
        write_run(root / "runs", FakeRun("mine", label, settings={"k": k}, tasks=2, samples=10))
    # A failed row's reason is text of others too.
    failure = {"stage": "train", "message": "[bold]no\x1b[2J\nluck[/]"}
    write_run(
        root / "runs", FakeRun("mine", "failed", settings={"k": -1}, tasks=2, samples=10, learned=1, failure=failure)
    )
    return quick_report(load(root / "runs", None), root / "out")


def test_every_row_is_there_with_its_label(report: Report) -> None:
    assert not report.problems
    assert set(report.table["label"]) == {*STORED.values(), "failed"}
    assert len(list((report.output / "rows").glob("*.json"))) == len(STORED) + 1


def test_no_file_of_text_holds_a_hidden_character(report: Report) -> None:
    for path in report.output.rglob("*"):
        if path.suffix in (".csv", ".md", ".tex", ".json"):
            assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e]", path.read_text("utf-8")), (
                path
            )


def test_a_spreadsheet_finds_no_formula(report: Report) -> None:
    for path in report.output.rglob("*.csv"):
        with path.open(encoding="utf-8", newline="") as file:
            cells = [cell for line in csv.reader(file) for cell in line]
        formulas = [cell for cell in cells if cell[:1] in "=+-@\t\r" and not re.fullmatch(r"[+-]?[\d.e+-]+|", cell)]
        assert not formulas, path
    table = pd.read_csv(report.output / "leaderboard.csv")
    assert len(table) == len(STORED) + 1
    assert {"'=cmd|' /C calc'!A0", "'+1+1", "'@SUM(1)", "[/]"} <= set(table["label"])


def test_numbers_stay_numbers_in_csv() -> None:
    frame = pd.DataFrame(
        {"a": ["-1", "+0.5", "-1e-3", "-x", "-1+1", None], "b": [-1.5, 2.0, float("nan"), 0.0, -0.0, 1.0]}
    )
    assert to_csv(frame).splitlines() == ["a,b", "-1,-1.5", "+0.5,2.0", "-1e-3,n/a", "'-x,0.0", "'-1+1,-0.0", "n/a,1.0"]
    assert to_csv(pd.DataFrame({"=a": [True]})) == "'=a\nTrue\n"


def test_the_markdown_has_a_line_per_row_and_shows_the_label(report: Report) -> None:
    text = (report.output / "leaderboard.md").read_text(encoding="utf-8")
    rendered = MarkdownIt("gfm-like", {"linkify": False}).render(text)
    ranked = re.findall(r"<tr>\n<td[^>]*>\d+</td>\n<td[^>]*>(.*?)</td>", rendered)
    shown = {MarkdownIt().renderInline(markdown_text(label)) for label in STORED.values()}
    assert set(ranked) == shown
    assert r"\x1b[2J" in rendered
    assert "&amp;lt;b&amp;gt; $x^$ ~~y~~" in ranked
    assert r"\$x^\$" in markdown_text("$x^$")


def test_a_line_break_in_a_cell_is_no_end_of_a_row() -> None:
    lines = markdown_table(pd.DataFrame({"label": ["a\nb", "c\u2028d"], "x": ["1", "2"]})).splitlines()
    assert [line.count("|") for line in lines] == [3] * 4


@pytest.mark.parametrize("width", [80, 200])
@pytest.mark.parametrize("kind", [Console, PlainConsole])
def test_the_terminal_shows_labels_and_obeys_none(report: Report, kind: type[Console], width: int) -> None:
    console = kind(width=width, file=io.StringIO(), force_terminal=True, color_system=None)
    print_report(report, console)
    text = console.file.getvalue()
    assert "\x1b[31m" not in text
    assert "\x1b[2J" not in text
    assert "\x07" not in text
    words = re.sub(r"\s+", "", text)
    shown = [re.sub(r"\s+", "", label) for label in STORED.values()]
    # A narrow table folds long labels between other cells.
    assert [label for label in shown if label not in words and (width == 200 or len(label) < 9)] == []


def test_a_plain_console_prints_text_as_it_is() -> None:
    console = PlainConsole(width=100, file=io.StringIO())
    nasty = "[/] [red]x[/red] :+1: \x1b[31m"
    table = Table("a", title=nasty)
    table.add_row(nasty)
    table.add_column(nasty)
    console.print(nasty)
    console.print(table)
    with console.status(nasty), Progress(console=console, disable=True):
        console.print(nasty, style="bold")
    shown = r"[/] [red]x[/red] :+1: \x1b[31m"
    assert console.file.getvalue().count(shown) == 4
    assert "\x1b" not in console.file.getvalue()


def test_no_other_console_is_made_for_a_user() -> None:
    folders = [Path(__file__).parents[2] / name for name in ("benchmark", "reports")]
    made = [
        path
        for folder in folders
        for path in folder.rglob("*.py")
        if re.search(r"(?<!Plain)Console\((?!Console|quiet)", path.read_text("utf-8"))
    ]
    assert made == []
