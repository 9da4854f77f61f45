"""Reports from stored predictions: metrics, statistics, verdicts, tables, figures and the page. No torch in here."""

from reports.terminal import print_report
from reports.write import Report, write_report

__all__ = ["Report", "print_report", "write_report"]
