"""Published identities stay: run hashes, rows, evaluation ids and classifier fingerprints are what they were."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from torch import nn

from benchmark.commands.run import run
from benchmark.evaluating.fingerprints import attack_name, evaluation_fields, evaluation_id, printed
from benchmark.planning.identity import run_identity
from benchmark.planning.options import PUBLISHED, RunOptions
from benchmark.planning.presets import load_preset
from results import Run, load
from scenarios.base import Stream
from tests.benchmark.planning.identities import identities
from tests.conftest import REAL_CIFAR100

KNOWN = json.loads(Path(__file__).with_name("identities.json").read_text(encoding="utf-8"))
WHY = "a published identity changed: argue it, raise a version, and give the board a new one"
PUBLISHED_PRESET = "cifar100-cpu"
PUBLISHED_ROWS = {"cifar100-cpu": 42, "cifar100-20-cpu": 22, "fashion": 48, "fashion-class": 27, "fine-grained-cpu": 7}


def published_runs(preset: str) -> dict[str, Run]:
    """The published runs of a preset by hash."""
    return {run.hash: run for run in load(PUBLISHED / preset, None).runs}


@pytest.fixture(scope="module")
def now() -> dict[str, Any]:
    return identities()


@pytest.mark.parametrize("kind", ["runs", "classifiers"])
def test_runs_and_classifiers_are_named_as_ever(kind: str, now: dict[str, Any]) -> None:
    assert now[kind] == KNOWN[kind], WHY


@pytest.mark.parametrize(
    "norm", [nn.BatchNorm2d(3), nn.GroupNorm(1, 2, affine=False), nn.InstanceNorm2d(2), nn.LayerNorm(3)]
)
def test_a_classifier_is_named_the_same_under_older_versions_of_torch(norm: nn.Module) -> None:
    """Older versions did not print the bias of a norm."""
    now = nn.Sequential(nn.Conv2d(1, 3, 3), norm, nn.ReLU())
    older = re.sub(r"(affine=\w+), bias=\w+", r"\1", repr(now))

    class Older(nn.Module):
        def __repr__(self) -> str:
            return older

    assert ", bias=" in printed(now).split("ReLU")[0].split("\n")[2]
    assert printed(Older()) == printed(now)


@pytest.mark.parametrize("name", PUBLISHED_ROWS)
def test_every_published_row_is_still_the_run_that_its_preset_demands(name: str) -> None:
    published, preset = published_runs(name), load_preset(name)
    names = [*preset.file.methods, *preset.file.optional]
    rows = {row.label: row for row in map(preset.row, names)}
    checked = 0
    for record in published.values():
        stored = record.identity
        row = rows.get(record.label)
        if row is None or name not in record.protocols:
            continue
        # The network that pretrained_at starts from is of another scenario and not published: its row is not known here.
        needed = [published[hash_].identity for hash_ in stored["prerequisites"] if hash_ in published]
        unknown = [{"hash": hash_, "row": ""} for hash_ in stored["prerequisites"] if hash_ not in published]
        again = run_identity(
            preset,
            # Of the stream an identity holds the names. The classes of photographs are counted on disk, which is not here.
            Stream(tuple(stored["scenario"]["tasks"]), (), (3, 1, 1), (), ()),
            stored["scenario"]["fingerprint"],
            row.plugin,
            row.settings,
            row.recipe,
            record.seed,
            [*needed, *unknown],
            label=record.label,
        )
        assert again["hash"] == stored["hash"], WHY
        assert unknown or again["row"] == stored["row"], WHY
        checked += 1
    assert checked == len(published) == PUBLISHED_ROWS[name]


@pytest.mark.parametrize("name", PUBLISHED_ROWS)
def test_every_published_evaluation_has_the_id_that_its_preset_asks_for(name: str) -> None:
    preset = load_preset(name)
    for record in published_runs(name).values():
        rows = record.evaluations
        rows = rows[(rows["after_task"] == rows["after_task"].max()) & (rows["task"] == 0)]
        stored = dict(zip(rows["attack"], rows["evaluation_id"], strict=True))
        classifier, task = rows["classifier"].iloc[0], rows["task_fingerprint"].iloc[0]
        asked = {}
        for attack in (demand.attack for demand in preset.final):
            seed, precision = preset.seed_of(attack), preset.precision_of(attack)
            fields = evaluation_fields(attack, task, seed, precision)
            asked[attack_name(attack, seed, precision)] = evaluation_id(classifier, fields)
        assert {attack: stored[attack] for attack in asked} == asked, f"{record.label}: {WHY}"


@pytest.mark.skipif(not REAL_CIFAR100.is_dir(), reason="needs the complete CIFAR-100")
def test_nothing_is_left_to_do_for_the_published_preset(tmp_path: Path) -> None:
    console = Console(record=True, width=200, file=(tmp_path / "console").open("w"))
    assert run(RunOptions(PUBLISHED_PRESET, data_root=REAL_CIFAR100, results=tmp_path / "runs"), console) == 0
    shown = console.export_text()
    assert "Nothing to do: 14 runs" in shown
    assert "(14 published; --force makes them here too)" in shown
    assert str(tmp_path / "runs") not in shown, "nothing is there"
