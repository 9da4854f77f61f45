"""The files of `write_report`: right numbers, equal bytes, no text that breaks the format of its file."""

import html.parser
import io
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from reports.boards.building import build_boards
from reports.tables.words import short_name
from reports.terminal import print_report
from reports.write import write_report
from results import load
from tests.reports.quick_report import quick_report
from tests.reports.synthetic_runs import FakeRun, clean, pgd, write_run

NASTY = "cmat <b>2/255</b> | 5%_x & [bold]$a$[/]"


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Two ranked rows, one of them with a nasty label, one failed and one superseded row; a second preset."""
    root = tmp_path_factory.mktemp("stored")
    write_run(root, FakeRun("packnet", quality=1.2, forgets=0.3))
    write_run(root, FakeRun("cmat", NASTY, quality=2.2))
    write_run(root, FakeRun("cmat", NASTY, settings={"a": 1}, demanded_at="2025-01-01T00:00:00+00:00"))
    write_run(root, FakeRun("broken", NASTY + "2", learned=1, failure={"stage": "train", "message": NASTY}))
    write_run(root, FakeRun("packnet", preset="other", matrix=[clean(), pgd(7)], final=[], settings={"b": 2}))
    return root


@pytest.fixture(scope="module")
def report(stored, tmp_path_factory):
    return write_report(load(stored, None), tmp_path_factory.mktemp("report"))


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_everything_is_written(report):
    names = set(files(report.output))
    assert {"leaderboard.csv", "leaderboard.md", "leaderboard.tex", "index.html"} <= names
    for board in ("digits", "other"):
        for name in ("accuracy", "matrices"):
            assert {f"figures/{board}__{name}.{suffix}" for suffix in ("png", "svg", "pdf")} <= names
        assert {
            f"tables/{board}__{name}.csv" for name in ("verdicts", "comparisons", "matrix__clean", "tasks__worst")
        } <= names
    assert not [name for name in names if name.endswith(".partial")]


def test_the_table_is_golden(report):
    table = pd.read_csv(report.output / "leaderboard.csv")
    assert list(table.columns[:6]) == ["rank", "label", "method", "seeds", "verdict", "preset"]
    digits = table[table.preset == "digits"]
    ranked, below = digits[digits["rank"].notna()], digits[digits["rank"].isna()]
    found = list(zip(ranked["rank"], ranked["label"], ranked["seeds"], ranked["verdict"], strict=True))
    assert found == [(1, NASTY, 1, "pass"), (2, "packnet", 1, "pass")]
    assert sorted(below["verdict"]) == ["failed", "superseded"]
    golden = {
        "ACC_lopezpaz2017 worst": [0.8666666666666667, 0.43333333333333335],
        "ACC_lopezpaz2017 worst low": [0.8083333333333332, 0.35],
        "ACC_lopezpaz2017 worst high": [0.925, 0.5166666666666667],
        "ACC_lopezpaz2017 clean": [0.9833333333333334, 0.8],
        "BWT_lopezpaz2017 clean": [0.0, -0.1375],
        "F_chaudhry2018 pgd-10 linf 51/255 a=12.75/255": [0.025, 0.1875],
        "F_chaudhry2018 pgd-10 linf 51/255 a=12.75/255 high": [0.0625, 0.2625],
        "A_diazrodriguez2018 clean": [0.9916666666666667, 0.85],
        "AIA_rebuffi2017 clean": [0.9944444444444445, 0.875],
        "excess_F pgd-10 linf 51/255 a=12.75/255": [0.025, 0.05],
        "samples worst": [120, 120],
        "train_seconds": [12.5, 12.5],
    }
    assert {name: ranked[name].tolist() for name in golden} == {name: pytest.approx(v) for name, v in golden.items()}
    assert set(ranked["interval"]) == {"test-set noise only"}


def test_numbers_follow_from_the_stored_predictions(report, stored):
    table = pd.read_csv(report.output / "leaderboard.csv").set_index(["preset", "label"])
    run = next(run for run in load(stored, None).runs if run.label == "packnet" and "digits" in run.protocols)
    frame = run.predictions.assign(right=lambda rows: rows.label == rows.predicted)
    last = frame[frame.after_task == 2]
    expected = last[last.attack == "clean"].groupby("task").right.mean().mean()
    row = table.loc[("digits", "packnet")]
    assert row["ACC_lopezpaz2017 clean"] == pytest.approx(expected)
    worst = last.groupby(["task", "sample"], observed=True).right.all().groupby("task").mean().mean()
    assert row["ACC_lopezpaz2017 worst"] == pytest.approx(worst)
    assert row["gap worst"] == pytest.approx(expected - worst)
    assert row["ACC_lopezpaz2017 worst low"] < worst < row["ACC_lopezpaz2017 worst high"]


def test_the_same_records_give_the_same_bytes(report, stored, tmp_path):
    first, second = files(report.output), files(write_report(load(stored, None), tmp_path).output)
    assert first.keys() == second.keys()
    page = re.compile(rb"Made [^<]*? from")
    assert page.search(first["index.html"])
    for name in first:
        assert page.sub(b"", first[name]) == page.sub(b"", second[name]), name


def test_an_older_report_does_not_shine_through(stored, tmp_path):
    quick_report(load(stored, None), tmp_path)
    quick_report(load(tmp_path / "nothing", None), tmp_path)
    assert not list((tmp_path / "tables").glob("*")) + list((tmp_path / "figures").glob("*"))


class Collector(html.parser.HTMLParser):
    VOID = ("meta", "link", "br", "img", "path", "use", "rect")

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.text = [], [], ""

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_the_page_is_self_contained_and_escapes_labels(report):
    text = report.page.read_text(encoding="utf-8")
    page = Collector()
    page.feed(text)
    assert not page.open
    assert "b" not in page.tags
    # Bars, sequence, matrices, time and claims of two boards; sweep, ranking and costs of the one with several attacks and rows.
    assert page.tags.count("svg") == 13
    assert NASTY in page.text
    assert "superseded" in page.text
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', text)
    assert "prefers-color-scheme: dark" in text


def test_markdown_parses_into_tables(report):
    text = (report.output / "leaderboard.md").read_text(encoding="utf-8")
    rendered = MarkdownIt("commonmark").enable("table").render(text)
    assert rendered.count("<table>") == 7
    assert "<b>" not in rendered
    assert "&lt;b&gt;2/255&lt;/b&gt; | 5%_x &amp; [bold]$a$[/]" in rendered
    lengths = {
        len(re.findall("<t[hd][ >]", row)) for row in re.findall("<tr>.*?</tr>", rendered.split("</table>")[0], re.S)
    }
    assert len(lengths) == 1


def test_latex_escapes_labels_and_balances(report):
    text = (report.output / "leaderboard.tex").read_text(encoding="utf-8")
    code = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    assert (
        r"cmat \textless{}b\textgreater{}2/255\textless{}/b\textgreater{} \textbar{} 5\%\_x \& [bold]\$a\$[/]" in code
    )
    assert code.count(r"\toprule") == code.count(r"\bottomrule") == code.count(r"\begin{tabular}") == 2
    assert code.count("{") - code.count(r"\{") == code.count("}") - code.count(r"\}")
    assert not re.search(r"(?<!\\)[%#_]", code.replace("tab:leaderboard", ""))


@pytest.mark.parametrize("width", [80, 100, 160])
def test_the_terminal_fits_and_says_what_is_below(report, width):
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    print_report(report, console)
    text = console.file.getvalue()
    assert max(len(line) for line in text.splitlines() if "index.html" not in line) <= width
    assert "below the line" in text
    assert "superseded" in text
    assert "±" in text
    assert str(report.page) in text
    assert "[bold]$a$[/]" in re.sub(r"\s+", "", text)


def test_labels_are_no_markup_in_the_terminal(tmp_path):
    write_run(tmp_path / "runs", FakeRun("cmat", "[red]x[/]"))
    write_run(tmp_path / "runs", FakeRun("cmat", "[red]y[/]", learned=1, settings={"a": 1}))
    console = Console(width=120, file=io.StringIO())
    print_report(quick_report(load(tmp_path / "runs", None), tmp_path / "out"), console)
    assert "[red]x[/]" in console.file.getvalue()
    assert "[red]y[/]" in console.file.getvalue()


def test_step_sizes_are_told_apart_in_short_names(tmp_path):
    wide = replace(pgd(10), name="pgd-10 linf 51/255 a=51/255", step_size="1/5")
    write_run(tmp_path / "runs", FakeRun(final=[pgd(40), wide]))
    (board,) = build_boards(load(tmp_path / "runs", None))
    names = [short_name(attack, board) for attack in board.demanded]
    assert names == ["clean", "pgd-10 a=eps/4", "pgd-40 a=eps/4", "pgd-10 a=eps"]
    assert short_name("pgd-10 linf 51/255 a=51/255 any", board) == "pgd-10 a=eps any"


def test_nothing_stored(tmp_path):
    report = quick_report(load(tmp_path / "missing", None), tmp_path / "out")
    console = Console(width=80, file=io.StringIO())
    print_report(report, console)
    assert "No results yet" in console.file.getvalue()
    assert "No results yet" in report.page.read_text(encoding="utf-8")
    assert list(pd.read_csv(report.output / "leaderboard.csv").columns[:5]) == [
        "rank",
        "label",
        "method",
        "seeds",
        "verdict",
    ]


def test_only_partial_runs(tmp_path):
    write_run(tmp_path / "runs", FakeRun(learned=1))
    report = quick_report(load(tmp_path / "runs", None), tmp_path / "out")
    assert "No row is ranked yet" in report.page.read_text(encoding="utf-8")
    assert report.table["verdict"].tolist() == ["incomplete"]


def test_files_that_cannot_be_read_are_named(tmp_path):
    store = write_run(tmp_path / "runs", FakeRun())
    (store.directory / "evaluations" / "broken.parquet").write_bytes(b"not parquet")
    (tmp_path / "runs" / "stray").mkdir()
    report = quick_report(load(tmp_path / "runs", None), tmp_path / "out")
    assert len(report.problems) == 2
    page = report.page.read_text(encoding="utf-8")
    assert "broken.parquet" in page
    assert "stray" in page


def test_three_seeds_have_wider_words_than_one(tmp_path):
    for seed in range(3):
        write_run(tmp_path / "runs", FakeRun(seed=seed))
    report = quick_report(load(tmp_path / "runs", None), tmp_path / "out")
    (row,) = report.table.to_dict("records")
    assert (row["seeds"], row["seed_values"], row["interval"]) == (3, "0 1 2", "t-interval over 3 seeds")
    assert np.isfinite(row["F_chaudhry2018 clean low"])
    assert "t-interval over 3 seeds" in (report.output / "leaderboard.md").read_text(encoding="utf-8")


def test_reports_import_no_torch():
    code = "import sys, reports.terminal, reports.frames; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_figures_on_the_page_have_no_white_background_and_keep_white_words(tmp_path):
    write_run(tmp_path / "runs", FakeRun())
    quick_report(load(tmp_path / "runs", None), tmp_path / "out")
    page = (tmp_path / "out" / "index.html").read_text()
    assert not re.search(r'<g id="patch_\d+">\s*<path [^>]*fill: #ffffff', page)
    figure = next((tmp_path / "out" / "figures").glob("*matrices.svg")).read_text()
    white_words = len(re.findall(r"<(?:text|g)[^>]*fill: #ffffff", figure))
    assert len(re.findall(r"<(?:text|g)[^>]*fill: #ffffff", page)) == white_words
