"""Costs of runs, as their stored records tell them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmark.planning.options import PUBLISHED
from results.records import Run, read_run
from results.schema import COSTS, SECONDS

OF_THE_HARNESS = ("start", "prepare", "read", "write", "hash", "other")
"""Purposes of a run's time that are neither learning nor attacks nor checks."""


def published(preset: str) -> Iterator[tuple[str, Run]]:
    """The published runs of a preset, each with its label there."""
    for folder in sorted((PUBLISHED / preset).iterdir()):
        if (folder / "config.json").is_file():
            run = read_run(folder)
            if preset in run.config["protocols"]:
                yield run.config["protocols"][preset]["label"], run


def seconds(run: Run) -> tuple[float, float]:
    """Seconds of learning and of attacks."""
    facts = run.facts
    learned = facts[(facts["phase"] == COSTS) & (facts["name"] == "train_seconds")]["value"]
    return float(learned.sum()), float(run.evaluations["seconds"].sum())


def by_purpose(run: Run) -> dict[str, float]:
    """Seconds by their purpose; empty if the run is older than the clock of purposes."""
    facts = run.facts[run.facts["phase"] == SECONDS]
    return dict(zip(facts["name"], facts["value"], strict=True))


def folder_bytes(path: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
