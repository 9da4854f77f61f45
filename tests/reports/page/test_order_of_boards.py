"""The page shows one's own boards first, published ones below, and each board's first figure before its table."""

from __future__ import annotations

import re

from reports.boards.building import build_boards
from reports.page.page import FigureOnPage, render_page
from reports.tables.entries import entry_names, row_entry
from results import load
from tests.reports.synthetic_runs import FakeRun, write_run


def test_own_boards_come_first_and_each_leads_with_its_picture(tmp_path):
    write_run(tmp_path / "published" / "a", FakeRun(preset="a-published"))
    write_run(tmp_path / "runs", FakeRun(preset="b-own", seed=1))
    boards = build_boards(load(tmp_path / "runs", tmp_path / "published"))
    assert [board.preset for board in boards] == ["a-published", "b-own"]
    pictures = {
        board.preset: [FigureOnPage(f"{n} of it", "<svg></svg>", f"{board.preset}-{n}") for n in ("first", "second")]
        for board in boards
    }
    entries = {
        name: row_entry(board, row)
        for board in boards
        for name, row in zip(entry_names(board), board.rows, strict=True)
    }
    page = render_page(boards, entries, pictures, {}, [], "now", "empty")
    order = re.findall(r'<h2>([^<]+)</h2>|id="figure-([^"]+)"|(<table class="leaderboard")', page)
    names = ["".join(each) for each in order]
    table = '<table class="leaderboard"'
    own, published = names.index("b-own"), names.index("a-published")
    assert own < published
    assert names[own : own + 4] == ["b-own", "b-own-first", table, "b-own-second"]
    assert names[published : published + 4] == ["a-published", "a-published-first", table, "a-published-second"]
