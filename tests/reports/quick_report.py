"""Reports for tests that look at something else than the formats of figures: half of the time goes into PDF and PNG."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

from matplotlib.figure import Figure

from reports import write
from reports.figures import style
from reports.write import Report, write_report
from results import Results

BLANK = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"/>'


def quick_report(results: Results, output: Path) -> Report:
    """`write_report`, with its figures as SVG alone. `test_files` holds that there are three formats."""
    with patch.object(style, "FORMATS", {"svg": style.FORMATS["svg"]}):
        return write_report(results, output)


def report_with_blank_figures(results: Results, output: Path) -> Report:
    """`write_report`, for tests of which rows are in it: its figures are made, and blank ones are saved in their place."""

    def save(figure: Figure, stem: Path) -> list[Path]:
        path = stem.with_name(f"{stem.name}.svg")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(BLANK, encoding="utf-8")
        return [path]

    with patch.object(write, "save", save):
        return write_report(results, output)
