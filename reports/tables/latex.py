"""The leaderboard as LaTeX: booktabs tables that a paper can `input`."""

from __future__ import annotations

import re

import pandas as pd

from reports.boards.board import Board
from reports.boards.version import published_note
from reports.numbers.labels import visible
from reports.tables.leaderboard import caption, compact_table
from reports.tables.markdown import WORDS

NEEDS = r"\usepackage{booktabs,graphicx}"
_SHRINK = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}"
"""Shrinks a table that is wider than the line, and no other."""


def leaderboard_latex(boards: list[Board], empty: str) -> str:
    """All boards as floating booktabs tables, for pdflatex with `NEEDS`.

    empty: the text if there is no board. `table*` spans both columns of a paper that has two, and is a `table` in others.
    """
    parts = [f"% needs {NEEDS}; tables wider than the line are shrunk to it: small margins or a landscape page help"]
    if not boards:
        parts.append(f"% {_comment(empty)}")
    for board in boards:
        title = latex_text(board.preset)
        if board.ranked:
            label = f"tab:leaderboard-{board.stem}"
            about = " ".join(filter(None, [caption(board), published_note([board])]))
            text = f"Leaderboard of \\texttt{{{title}}}. {latex_text(about)}"
            parts.append(latex_table(compact_table(board), text, label))
        else:
            parts.append(f"% {_comment(board.preset)}: no row is ranked yet")
        parts += [
            f"% below the line in {_comment(board.preset)}: {_comment(f'{row.label}: {row.reason}')}"
            for row in board.below
        ]
    return "\n\n".join(parts) + "\n"


_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "†": r"$\dagger$", "−": "$-$", "×": r"$\times$", "±": r"$\pm$", "≤": r"$\le$", "≥": r"$\ge$",
    "→": r"$\to$", "α": r"$\alpha$", "β": r"$\beta$", "γ": r"$\gamma$", "δ": r"$\delta$", "ε": r"$\varepsilon$",
    "λ": r"$\lambda$", "σ": r"$\sigma$", "–": "--", "—": "---", "…": r"\ldots{}",
}  # fmt: skip
_LETTERS = re.compile(r"[ -~À-ÖØ-öø-ÿ]")
"""Characters that pdflatex sets in any font encoding. It would stop at others, unless `_TEX` has them."""


def latex_text(text: str) -> str:
    """The text with all markup escaped. A character that pdflatex does not know becomes its number: U+4E2D."""
    return "".join(_character(character) for character in " ".join(text.split()))


def _character(character: str) -> str:
    known = _TEX.get(character)
    if known is not None:
        return known
    return character if _LETTERS.fullmatch(character) else f"U+{ord(character):04X}"


def _comment(text: str) -> str:
    return visible(" ".join(text.split()))


def latex_table(frame: pd.DataFrame, text: str, label: str) -> str:
    """A floating booktabs table; text: its caption, escaped; label: for `ref`."""
    escaped = frame.map(lambda cell: re.sub(r"(?<![\w.-])-(?=\d)", "$-$", latex_text(cell)))
    escaped.columns = pd.Index([latex_text(str(column)) for column in frame.columns])
    layout = "".join("l" if column in WORDS else "r" for column in frame.columns)
    tabular = escaped.style.hide(axis="index").to_latex(hrules=True, column_format=layout).strip()
    lines = [
        r"\begin{table*}[t]",
        r"\centering",
        rf"\caption{{{text}}}",
        rf"\label{{{label}}}",
        r"\smallskip\setlength{\tabcolsep}{4pt}",
        f"{_SHRINK}{{{tabular}}}",
        r"\end{table*}",
    ]
    return "\n".join(lines)
