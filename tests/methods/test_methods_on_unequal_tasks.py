"""A task of 3 classes after one of 20, larger training images, a residual network: every method is learned, attacked, judged and
not forgotten, as on plain networks, and has a report.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmark.errors import ConfigError
from benchmark.planning.presets import load_preset
from benchmark.plugins import METHODS
from reports.boards.building import judged
from reports.checks.check import FAIL, PASS, Verdict
from reports.write import write_report
from results import load
from results.records import Run
from scenarios.base import SourceOptions
from tests.scenarios.pictures import write_tree
from tests.tiny import SHORT, run_tiny, write_preset

CLASSES = (20, 3)
# What it starts from is another stream of images of the same shape.
NAMES = sorted(METHODS.all().keys() - {"pretrained_at"})
GROWN = "cmat grown"
"""A row of CMAT whose goals are missed, so that blocks are widened."""
FINAL = [
    {"attack": "ensemble", "composition": "any", "steps": 3, "queries": 10, "samples": 12},
    {"attack": "pgd", "steps": 2, "step_size": "eps/4", "loss": "margin"},
    {"attack": "noise"},
]
OF_THE_NETWORK = (
    "eval_mode",
    "head_sliced",
    "outputs_are_logits",
    "repeatable",
    "batch_independent",
    "unchanged",
    "failures",
)
"""Checks that ask what a network is, and not what it has learned."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unequal")
    for task, classes in enumerate(CLASSES):
        write_tree(folder / f"set{task}", classes=[f"c{i:02d}" for i in range(classes)], seed=task)
    rows = [{"method": name, **({"settings": SHORT[name]} if name in SHORT else {})} for name in NAMES]
    grown = {**SHORT["cmat"], "goals": [0.0, 1.0], "tolerance": 0.0}
    rows.append({"method": "cmat", "label": GROWN, "settings": grown})
    sets = [str(folder / f"set{task}") for task in range(len(CLASSES))]
    assert run_tiny(
        folder,
        rows=rows,
        scenario={"name": "fine_grained", "data_sets": sets, "image_size": 14, "tasks": 2, "train_fraction": 1.0},
        backbone={"name": "resnet18", "width": 0.0625},
        recipe={"epochs": 1, "augmentation": "crop_flip"},
        evaluation={"final": FINAL},
    ) == 0  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def runs(folder: Path) -> dict[str, Run]:
    return {run.label: run for run in load(folder / "runs", None).runs}


@pytest.fixture(scope="module")
def verdicts(folder: Path) -> dict[str, dict[str, Verdict]]:
    """By label and check."""
    return {
        each.evidence.label: {verdict.check: verdict for verdict in each.verdicts}
        for each in judged(load(folder / "runs", None), "tiny")
    }


@pytest.mark.parametrize("name", [*NAMES, GROWN])
def test_classifiers_are_what_a_classifier_must_be(verdicts: dict[str, dict[str, Verdict]], name: str) -> None:
    for check in OF_THE_NETWORK:
        assert verdicts[name][check].status == PASS, verdicts[name][check].reason


@pytest.mark.parametrize("name", [name for name in NAMES if "unforgetting" in METHODS.find(name).cls.claims])
def test_methods_that_claim_it_forget_nothing(verdicts: dict[str, dict[str, Verdict]], name: str) -> None:
    """Batch norm, projections of blocks and growth included. Some, by their settings, take the claim back."""
    assert verdicts[name]["unforgetting"].status != FAIL, verdicts[name]["unforgetting"].reason


@pytest.mark.parametrize("name", ["packnet", "cmat", "cpg", GROWN])
def test_packed_methods_prove_it(verdicts: dict[str, dict[str, Verdict]], name: str) -> None:
    assert verdicts[name]["unforgetting"].status == PASS, verdicts[name]["unforgetting"].reason


def test_blocks_were_widened(runs: dict[str, Run]) -> None:
    facts = runs[GROWN].facts
    assert facts[facts["name"] == "mu"]["value"].tolist() == [1.0, 1.5]


@pytest.mark.parametrize("name", NAMES)
def test_every_method_learns_both_tasks_and_every_attack_runs_on_them(runs: dict[str, Run], name: str) -> None:
    predictions = runs[name].predictions
    last = predictions[predictions["after_task"] == 1]
    for task, classes in enumerate(CLASSES):
        of_task = last[last["task"] == task]
        assert set(of_task["label"]) == set(range(classes))
        assert of_task["predicted"].between(0, classes - 1).all()
        assert np.isfinite(of_task["margin"]).all()
        assert len({name.split()[0] for name in of_task["attack"]}) >= 4


def test_the_official_composition_says_which_one_takes_all_tasks(folder: Path) -> None:
    sets = [str(folder / f"set{task}") for task in range(len(CLASSES))]
    scenario = {"name": "fine_grained", "data_sets": sets, "image_size": 14}
    preset = load_preset(str(write_preset(folder, "official", evaluation={"final": [{"attack": "autoattack"}]})))
    with pytest.raises(ConfigError, match="for tasks of 3 to 20 classes there is ensemble with composition: any"):
        preset.altered(scenario=scenario).scenario(SourceOptions())


def test_their_report_is_written(folder: Path) -> None:
    written = write_report(load(folder / "runs", None), folder / "report")
    assert not written.problems
    assert (folder / "report" / "index.html").stat().st_size > 10_000
