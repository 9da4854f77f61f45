"""The leaderboard in a terminal."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from reports import terminal


def test_boards_of_ones_own_come_last_where_the_eye_is(monkeypatch: pytest.MonkeyPatch) -> None:
    printed: list[str] = []
    monkeypatch.setattr(terminal, "_print_board", lambda board, console: printed.append(board.preset))
    published = {"a": True, "b": False, "c": True, "d": False}
    boards = [SimpleNamespace(preset=name, is_published=each) for name, each in published.items()]
    report: Any = SimpleNamespace(boards=boards, problems=[], page=Path("index.html"))
    terminal.print_report(report, Console(quiet=True))
    assert printed == ["a", "c", "b", "d"]
