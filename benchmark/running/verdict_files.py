"""`verdicts.json` of a run: what the checks say of it under each preset that it is a row of, as it was when the preset was run.

Reports compute verdicts anew from the evidence; the file is for people and scripts, and `verify` compares the two.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from reports.boards.building import judged
from reports.checks.verdicts import overall
from results import Run, load
from results.files import StoreError, read_json, write_json

NAME = "verdicts.json"


def write_verdicts(runs: Path, published: Path | None, preset: str) -> None:
    """Write what the checks say of every local run that is a row of the preset; other presets' verdicts in the file stay."""
    for run, verdicts in verdicts_of(runs, published, preset).values():
        path = run.directory / NAME
        known = stored_verdicts(run)
        if not run.published and known.get(preset) != verdicts:
            write_json(path, {**known, preset: verdicts})


def verdicts_of(runs: Path, published: Path | None, preset: str) -> dict[str, tuple[Run, dict[str, Any]]]:
    """By hash every row's run of the preset, with what the checks say of it now, as JSON."""
    found = {}
    for seed in judged(load(runs, published), preset):
        checks = [
            {**asdict(verdict), "samples": [list(sample) for sample in verdict.samples]} for verdict in seed.verdicts
        ]
        found[seed.run.hash] = (seed.run, {"verdict": overall(seed.verdicts), "checks": checks})
    return found


def stored_verdicts(run: Run) -> dict[str, Any]:
    """What `verdicts.json` of a run holds, by preset; nothing where there is none or it cannot be read."""
    path = run.directory / NAME
    try:
        found = read_json(path) if path.exists() else {}
    except StoreError:
        return {}
    return found if isinstance(found, dict) else {}
