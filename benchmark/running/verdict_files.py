"""`verdicts.json` of a run: the verdicts on it under each preset that it is a row of, as of when the preset was run.

Reports judge the evidence anew. The file is for people and scripts, and `verify` compares it with new verdicts.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from reports.boards.building import judged
from reports.checks.verdicts import overall
from results import Run, load
from results.files import StoreError, read_json, write_json
from results.store import RunStore

NAME = "verdicts.json"


def write_verdicts(runs: Path, published: Path | None, preset: str) -> dict[str, tuple[Run, dict[str, Any]]]:
    """Judge the rows of a preset and write the verdicts on local runs; those under other presets stay in the file.

    Returns the verdicts, as `verdicts_of` does.
    """
    judged_now = verdicts_of(runs, published, preset)
    for run, verdicts in judged_now.values():
        path = run.directory / NAME
        known = stored_verdicts(run)
        if not run.published and known.get(preset) != verdicts:
            RunStore(runs, run.hash).set_folder_aside(NAME)
            write_json(path, {**known, preset: verdicts})
    return judged_now


def verdicts_of(runs: Path, published: Path | None, preset: str) -> dict[str, tuple[Run, dict[str, Any]]]:
    """Judge the rows of a preset. Returns runs with their verdicts as JSON, by hash."""
    found = {}
    for seed in judged(load(runs, published), preset):
        checks = [
            {**asdict(verdict), "samples": [list(sample) for sample in verdict.samples]} for verdict in seed.verdicts
        ]
        found[seed.run.hash] = (seed.run, {"verdict": overall(seed.verdicts), "checks": checks})
    return found


def stored_verdicts(run: Run) -> dict[str, Any]:
    """The content of a run's `verdicts.json`, by preset; empty if the file is missing or unreadable."""
    path = run.directory / NAME
    try:
        found = read_json(path) if path.exists() else {}
    except StoreError:
        return {}
    return found if isinstance(found, dict) else {}
