"""Reports for tests that look at something else than the formats of figures: half of the time goes into PDF and PNG."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

from reports.figures import style
from reports.write import Report, write_report
from results import Results


def quick_report(results: Results, output: Path) -> Report:
    """`write_report`, with its figures as SVG alone. `test_files` holds that there are three formats."""
    with patch.object(style, "FORMATS", {"svg": style.FORMATS["svg"]}):
        return write_report(results, output)
