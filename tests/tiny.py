"""A preset so small that a whole run takes about a second: two or three tasks of real digits, few steps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from benchmark.run_command import RunOptions, run

TINY: dict[str, Any] = {
    "description": "for tests",
    "scenario": {"name": "digits", "tasks": 2, "train_fraction": 0.3},
    "backbone": {"name": "small_conv", "width": 0.25},
    "eps": "51/255",
    "recipe": {
        "epochs": 2,
        "batch_size": 16,
        "learning_rate": 0.05,
        "attack": {"steps": 2},
        "selection": {"steps": 2},
    },
    "methods": [{"method": "madry_at"}],
    "evaluation": {
        "matrix": [{"attack": "clean"}, {"attack": "pgd", "steps": 2, "step_size": "eps/4"}],
        "final": [{"attack": "fgsm", "samples": 20}],
    },
    "threads": 1,
}


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


def write_preset(folder: Path, name: str = "tiny", **changes: Any) -> Path:
    """The tiny preset as a file, with top-level keys changed (dictionaries are merged)."""
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(merged(TINY, changes)))
    return path


def run_tiny(folder: Path, methods: Sequence[str] | None = None, *, results: str = "runs", **changes: Any) -> int:
    """Run the tiny preset, changed, in this process; results go to `folder/results`."""
    options = changes.pop("options", {})
    preset = write_preset(folder, **changes)
    return run(
        RunOptions(
            str(preset), methods=methods, results=folder / results, published=folder / "published", workers=1, **options
        ),
        Console(quiet=True),
    )
