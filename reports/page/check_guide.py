"""The checks in words: the generated part of `docs/checks.md`, and rows by checks for the report's page of checks.

`python -m reports.page.check_guide` makes the part of `docs/checks.md` anew.
"""

from __future__ import annotations

from collections.abc import Sequence

from reports.boards.board import Row
from reports.checks.check import COST_CLASSES, NOT_RUN, OVER_SEEDS, Check
from reports.checks.verdicts import CHECKS
from reports.tables.markdown import replaced_between

SIGNS = {"pass": "✓", "warn": "!", "fail": "✗", NOT_RUN: "·"}
BEGIN, END = (
    "<!-- made by `python -m reports.page.check_guide`; edit the checks instead -->",
    "<!-- end of what is made -->",
)


def guide(checks: Sequence[Check] = CHECKS) -> str:
    """Every check as Markdown: its question, its argument and a list of facts, after a table of contents by cost."""
    parts = []
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
    return "\n\n".join(parts)


def with_guide(page: str) -> str:
    """The page with the guide between its two marks made anew. Raises ValueError if it lacks a mark."""
    return replaced_between(page, BEGIN, END, guide(), "the guide")


def status_of(row: Row, check: str) -> tuple[str, str]:
    """The (status, reason) of a check on a row, in the seed that fares worst."""
    found = [verdict for seed in row.seeds for verdict in seed.verdicts if verdict.check == check]
    if not found:
        return NOT_RUN, "not among the checks"
    worst = max(found, key=lambda verdict: OVER_SEEDS.index(verdict.status))
    return worst.status, worst.reason + (f" [{worst.evidence}]" if worst.evidence else "")


if __name__ == "__main__":
    from pathlib import Path

    from results.files import write_text

    path = Path(__file__).parents[2] / "docs" / "checks.md"
    made = with_guide(path.read_text(encoding="utf-8"))
    write_text(path, made)
