"""Stored runs as the tests of this folder look at them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from results import Run, load
from results.adversarial import read_images

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


def content(run: Run) -> tuple[Any, ...]:
    """Everything that a run says but what a clock said."""
    facts = run.facts[~run.facts["phase"].isin(["cost", "seconds"])].fillna({"text": ""})
    facts = facts.sort_values(["phase", "task", "name", "text"], ignore_index=True)
    epochs = run.training.drop(columns="seconds").sort_values(["task", "phase", "epoch"], ignore_index=True)
    images = {}
    for path in sorted(run.directory.glob("adversarial/*")):
        kept, notes = read_images(path)
        images[path.name] = (kept.attacked.tolist(), kept.samples.tolist(), kept.images.tolist(), notes)
    return table(run).to_csv(), facts.to_csv(), epochs.to_csv(), run.tasks.to_csv(), images


def files(folder: Path) -> dict[str, tuple[int, int]]:
    """Every stored file but the configuration, by what a change of it would change."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.stat().st_ino)
        for path in folder.rglob("*")
        if path.is_file() and path.name != "config.json"
    }
