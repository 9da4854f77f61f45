"""The version of the published leaderboard that the published rows of a report are from."""

from __future__ import annotations

from collections.abc import Sequence

from reports.boards.board import Board
from results.version import leaderboard_version


def version_of(boards: Sequence[Board]) -> str | None:
    """`1.0`; `1.0+changed` if the records are not that version's; None without published rows, or if they have no version."""
    runs = [seed.run for board in boards for row in board.rows for seed in row.seeds if seed.run.published]
    # A published run is at <published>/<preset>/<run>, and all published runs of a report are from one such folder.
    return leaderboard_version(runs[0].directory.parents[1]) if runs else None


def published_note(boards: Sequence[Board]) -> str:
    """The sentence about rows with a dagger; empty if there is none."""
    if not any(row.published for board in boards for row in board.rows):
        return ""
    version = version_of(boards)
    return "† published, not run here" + (f" (leaderboard {version})." if version else ".")
