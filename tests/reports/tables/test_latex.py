"""leaderboard.tex stands in a paper: pdflatex takes whatever a label holds, and no table is wider than the page."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from reports.boards.board import Board, Row
from reports.tables.latex import NEEDS, leaderboard_latex
from tests.reports.synthetic_runs import FakeRun, judged_board_of, write_run

EMPTY = "nothing _% here"
HOSTILE = r"50% of a_b & $c$ #1 {d} e~f g^2 \h\ [i] <j>|k -3 ε=8/255 é × 中"
DOCUMENT = rf"""
\documentclass{{article}}
{NEEDS}
\setlength{{\hfuzz}}{{1pt}}
\begin{{document}}
\input{{leaderboard.tex}}
See Table~\ref{{tab:leaderboard-digits}}.
\end{{document}}
"""
needs_pdflatex = pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no pdflatex here")


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Board:
    root = tmp_path_factory.mktemp("runs")
    write_run(root, FakeRun("cmat", HOSTILE, quality=2.2))
    write_run(root, FakeRun("packnet", quality=1.2, forgets=0.3))
    board = judged_board_of(
        root, FakeRun("broken", HOSTILE + " 2", learned=1, failure={"stage": "train", "message": HOSTILE})
    )
    return board


def published(row: Row) -> Row:
    """Its label has a dagger, and what it needs."""
    return replace(row, published=True)


@needs_pdflatex
def test_pdflatex_takes_it_and_it_fits_the_page(board: Board, tmp_path: Path) -> None:
    board = replace(board, rows=[published(row) for row in board.rows])
    (tmp_path / "leaderboard.tex").write_text(leaderboard_latex([board], EMPTY), encoding="utf-8")
    (tmp_path / "paper.tex").write_text(DOCUMENT, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    log = done.stdout.decode("utf-8", errors="replace")
    assert done.returncode == 0, log
    assert "Overfull" not in log
    assert "Missing character" not in (tmp_path / "paper.log").read_text(encoding="utf-8", errors="replace")
    assert (tmp_path / "paper.pdf").stat().st_size > 10_000


def test_what_pdflatex_cannot_set_is_told_by_its_number(board: Board) -> None:
    text = leaderboard_latex([board], EMPTY)
    assert "U+4E2D" in text
    code = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    assert not re.search(r"[^\x00-\xff]", code)


def test_no_board_and_no_ranked_row_are_comments(board: Board) -> None:
    unranked = replace(board, rows=board.below)
    for text in (leaderboard_latex([], EMPTY), leaderboard_latex([unranked], EMPTY)):
        assert all(line.startswith("%") for line in text.splitlines() if line)
