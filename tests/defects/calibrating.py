"""Runs the catalogue through the harness like anybody's methods and attacks, and reads the verdicts from the boards."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rich.console import Console

from benchmark.commands.run import run
from benchmark.errors import ConfigError
from benchmark.planning.options import RunOptions
from benchmark.planning.presets import Preset, load_preset
from benchmark.running.preset_run import prepare
from reports.boards.board import Seed
from reports.boards.building import judged
from reports.checks.verdicts import FAIL, WARN, Verdict
from reports.numbers.metrics import WORST, accuracy
from results import load
from results.files import StoreError, digest
from tests.defects.catalogue import CARRIER, HONEST, UNDEFENDED
from tests.defects.defect import PlantedDefect
from tests.defects.truth import stored_truth, true_accuracy


@dataclass(frozen=True)
class Calibration:
    """The runs of a calibration.

    preset, overrides, data_root, workers: as for `run`.
    planted: the defects.
    results: the folder of the runs.
    honest: labels of the preset's rows that are run beside them.
    """

    preset: str
    planted: Sequence[PlantedDefect]
    seeds: Sequence[int]
    results: Path
    overrides: Sequence[str] = ()
    honest: Sequence[str] = (*HONEST, *UNDEFENDED)
    data_root: Path | None = None
    workers: int | None = None

    @property
    def name(self) -> str:
        """The board of everything but broken attacks; other overrides are another board."""
        extra = f"-{digest({'set': sorted(self.overrides)})[:6]}" if self.overrides else ""
        return f"calibration-{Path(self.preset).stem}{extra}"

    def board_of(self, planted: PlantedDefect) -> str:
        """The board that a defect is on: a broken attack has its own, where everybody is attacked by it."""
        return f"{self.name}-{_slug(planted.label)}" if planted.attack else self.name


@dataclass(frozen=True)
class Found:
    """The verdicts on one row and seed.

    reported: its mean accuracy of `worst` after the last task, NaN without one.
    true: what an adaptive attack leaves of it (`tests/defects/truth.py`), NaN where that was not measured.
    """

    label: str
    seed: int
    verdicts: tuple[Verdict, ...]
    reported: float
    true: float = math.nan

    def failing(self) -> list[str]:
        return [verdict.check for verdict in self.verdicts if verdict.status == FAIL]

    def warning(self) -> list[str]:
        return [verdict.check for verdict in self.verdicts if verdict.status == WARN]

    @property
    def is_off(self) -> bool:
        """True if this seed alone takes the row off the ranking."""
        return bool(self.failing())


def execute(calibration: Calibration, console: Console) -> None:
    """Run what is not stored yet. Failures are recorded in their runs, as they should be. Raises ConfigError."""
    base = load_preset(calibration.preset, calibration.overrides)
    methods = [planted for planted in calibration.planted if not planted.attack]
    rows = [*_honest(base, calibration.honest), *(_row(planted) for planted in methods)]
    _run(calibration, calibration.name, {**_raw(base), "methods": rows}, console)
    measure_truth(calibration, console)
    # Last: recorded failures of attacks are cleared once the same run is complete under another preset.
    for planted in calibration.planted:
        if planted.attack:
            raw = {**_raw(base), "methods": _honest(base, [CARRIER])}
            raw["evaluation"] = _with_attack(raw["evaluation"], planted)
            _run(calibration, calibration.board_of(planted), raw, console)


def measure_truth(calibration: Calibration, console: Console) -> None:
    """Attack, knowing the defect, every planted network of which that is not stored yet, and the same ones without a defect."""
    known = {planted.label for planted in calibration.planted if planted.has_truth and not planted.attack} | {CARRIER}
    work = prepare(_options(calibration, calibration.name))
    for job in work.jobs:
        if job.of_preset and job.label in known:
            try:
                true_accuracy(job, work.machine, work.tasks)
            except (RuntimeError, StoreError) as error:
                console.print(f"{job}: no truth: {error}", markup=False)


def read(calibration: Calibration) -> dict[str, list[Found]]:
    """The verdicts by the label of an honest row or of a planted defect; of every stored seed, in order."""
    results = load(calibration.results, None)
    boards = dict.fromkeys([calibration.name, *(calibration.board_of(planted) for planted in calibration.planted)])
    rows = {board: _by_label(judged(results, board)) for board in boards}
    found = {label: rows[calibration.name].get(label, []) for label in calibration.honest}
    for planted in calibration.planted:
        row = CARRIER if planted.attack else planted.label
        found[planted.label] = rows[calibration.board_of(planted)].get(row, [])
    return {
        label: [_found(label, seed) for seed in seeds if seed.run.seed in calibration.seeds]
        for label, seeds in found.items()
    }


def _by_label(seeds: Sequence[Seed]) -> dict[str, list[Seed]]:
    """The seeds of each label. Of several identities the one demanded last: it superseded the others when a file changed."""
    newest: dict[str, str] = {}
    for seed in sorted(seeds, key=lambda seed: seed.evidence.protocol.demanded_at):
        newest[seed.evidence.label] = seed.run.row
    found: dict[str, list[Seed]] = {}
    for seed in sorted(seeds, key=lambda seed: seed.run.seed):
        if newest[seed.evidence.label] == seed.run.row:
            found.setdefault(seed.evidence.label, []).append(seed)
    return found


def _found(label: str, seed: Seed) -> Found:
    outcomes = seed.evidence.without_checks().outcomes
    cells = [accuracy(outcomes.vector(WORST, outcomes.last, task)) for task in range(outcomes.tasks)]
    truth = stored_truth(seed.run.directory)
    return Found(label, seed.run.seed, tuple(seed.verdicts), float(np.mean(cells)), truth)


def _raw(base: Preset) -> dict[str, Any]:
    """The preset with its overrides, every field written out."""
    return {**base.file.model_dump(mode="json"), "optional": []}


def _honest(base: Preset, labels: Sequence[str]) -> list[dict[str, Any]]:
    """The preset's rows of these labels, of its optional ones too."""
    entries = {entry.label or entry.method: entry for entry in [*base.file.optional, *base.file.methods]}
    missing = [label for label in labels if label not in entries]
    if missing:
        raise ConfigError(f"{base.name} has no row {missing[0]!r}; its rows: {', '.join(entries)}")
    return [entries[label].model_dump(mode="json") for label in labels]


def _row(planted: PlantedDefect) -> dict[str, Any]:
    return {"method": str(planted.path), "label": planted.label, "settings": dict(planted.settings)}


def _with_attack(evaluation: Mapping[str, Any], planted: PlantedDefect) -> dict[str, Any]:
    """The evaluation with the broken attack for every PGD."""

    def broken(entry: Mapping[str, Any]) -> dict[str, Any]:
        mine = {"attack": str(planted.path), **planted.settings} if entry["attack"] == "pgd" else {}
        return {**entry, **mine}

    return {**evaluation, **{part: [broken(entry) for entry in evaluation[part]] for part in ("matrix", "final")}}


def _run(calibration: Calibration, name: str, raw: Mapping[str, Any], console: Console) -> None:
    path = _preset_file(calibration, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(dict(raw)), encoding="utf-8")
    run(_options(calibration, name), console)


def _preset_file(calibration: Calibration, name: str) -> Path:
    return calibration.results / ".presets" / f"{name}.yaml"


def _options(calibration: Calibration, name: str) -> RunOptions:
    path = _preset_file(calibration, name)
    return RunOptions(
        preset=str(path),
        seeds=list(calibration.seeds),
        results=calibration.results,
        published=path.parent / "none",
        data_root=calibration.data_root,
        workers=calibration.workers,
        device="cpu",
        command="tests.defects.calibration",
    )


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
