"""Stored runs as the tests of this folder look at them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from results import Run, load

CELL = ["after_task", "task", "sample", "attack"]
"""The columns that name a prediction."""


def runs(folder: Path, results: str = "runs") -> list[Run]:
    return load(folder / results, None).runs


def only(folder: Path, results: str = "runs") -> Run:
    (run,) = runs(folder, results)
    return run


def table(run: Run) -> pd.DataFrame:
    frame = run.predictions.astype({"attack": str, "evaluation_id": str})
    return frame.sort_values(CELL, ignore_index=True)


def files(folder: Path) -> dict[str, tuple[int, int]]:
    """Every stored file but the configuration, by what a change of it would change."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.stat().st_ino)
        for path in folder.rglob("*")
        if path.is_file() and path.name != "config.json"
    }
