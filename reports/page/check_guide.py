"""What each check asks, for readers: the text of `docs/checks.md` and of the report's page of checks, from the checks
themselves.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from reports.boards.board import Board, Row
from reports.checks.check import COST_CLASSES, NOT_RUN, ORDER, Check
from reports.checks.verdicts import CHECKS

SIGNS = {"pass": "✓", "warn": "!", "fail": "✗", NOT_RUN: "·"}
BEGIN, END = (
    "<!-- made by `python -m reports.page.check_guide`; edit the checks instead -->",
    "<!-- end of what is made -->",
)


def markdown(checks: Sequence[Check] = CHECKS) -> str:
    """Every check in two sentences and a line on what it was tested on, as Markdown, with a table of contents by cost."""
    parts = [BEGIN]
    for cost, words in COST_CLASSES.items():
        names = ", ".join(f"[`{check.name}`](#{check.name})" for check in checks if check.cost == cost)
        parts.append(f"**{cost}** ({words}): {names}.")
    for check in checks:
        parts.append(f"### {check.name}")
        parts.append(f"{check.question} {check.why}")
        lines = [
            f"- Measures: {check.measures}.",
            f"- Threshold: {check.threshold}.",
            f"- Tested on: {check.planted}.",
            f"- Cost: {check.cost}." + (f" Source: {check.source}." if check.source else ""),
        ]
        parts.append("\n".join(lines))
    return "\n\n".join([*parts, END])


def with_guide(page: str) -> str:
    """A page with what stands between the two marks made anew. Raises ValueError where the marks are missing."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no place for the guide: expected {BEGIN} and {END}")
    return before + markdown() + after


def status_of(row: Row, check: str) -> tuple[str, str]:
    """(status, reason) of a check on a row: those of the seed that fares worst."""
    found = [verdict for seed in row.seeds for verdict in seed.verdicts if verdict.check == check]
    if not found:
        return NOT_RUN, "not among the checks"
    worst = max(found, key=lambda verdict: ORDER.index(verdict.status))
    return worst.status, worst.reason + (f" [{worst.evidence}]" if worst.evidence else "")


def check_matrix(board: Board, checks: Sequence[Check] = CHECKS) -> pd.DataFrame:
    """Rows by checks, each cell a sign; rows above the line first. Index: the check's name, columns: labels with their rank."""
    columns = {}
    for row in board.rows:
        place = "–" if row.rank is None else str(row.rank)
        columns[f"{place} {row.label} {row.identity[:8]}"] = [SIGNS[status_of(row, check.name)[0]] for check in checks]
    return pd.DataFrame(columns, index=[check.name for check in checks])


if __name__ == "__main__":
    from pathlib import Path

    from results.files import whole_file

    path = Path(__file__).parents[2] / "docs" / "checks.md"
    made = with_guide(path.read_text(encoding="utf-8"))
    with whole_file(path) as temporary:
        temporary.write_text(made, encoding="utf-8")
