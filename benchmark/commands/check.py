"""`check`: the contract of a method, an attack or a scenario, line by line, on the plug-in in a file."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmark.contract.requirement import RequirementResult
from benchmark.contract.targets import check_target, find_target


def check(name: str, overrides: Sequence[str], data_root: Path | None, console: Console) -> int:
    """Print what each check of the plug-in's contract finds. Returns 0, or 1 if one of them fails.

    Raises ConfigError for a file that holds no plug-in, DataError for a scenario whose images are missing.
    """
    target = find_target(name)
    found: list[RequirementResult] = []
    console.print(f"checking {target}", highlight=False, markup=False)
    with tempfile.TemporaryDirectory(prefix="check-") as folder:
        for finding in check_target(target, Path(folder), overrides, data_root):
            style = "dim" if finding.skipped else "red" if finding.problem else None
            console.print(str(finding), style=style, highlight=False, markup=False)
            found.append(finding)
    failed, skipped = (sum(map(bool, (getattr(f, name) for f in found))) for name in ("problem", "skipped"))
    counts = [f"{len(found)} checks", f"{len(found) - failed - skipped} hold", f"{failed} failed"]
    if skipped:
        counts.append(f"{skipped} skipped: they need what failed")
    console.print(", ".join(counts), highlight=False, markup=False)
    return 1 if failed else 0
