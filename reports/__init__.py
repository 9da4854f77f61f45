"""Reports from stored predictions: metrics, statistics, verdicts, tables, figures and the leaderboard page. No torch here."""

from reports.terminal import print_report
from reports.write import Report, write_report

__all__ = ["Report", "print_report", "write_report"]
