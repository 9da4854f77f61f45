"""Every method on residual networks, through the same code as on plain ones: learned, attacked, judged, and not forgotten."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.plugins import METHODS
from reports.boards.building import judged
from reports.checks.check import FAIL, PASS, Verdict
from results import load
from tests.tiny import SHORT, run_tiny

NAMES = sorted(METHODS.all())
RESIDUAL = {"name": "cifar_resnet18", "width": 0.0625}
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
    """Runs of all methods. One more row of CMAT has goals that it misses, so that blocks are widened."""
    folder = tmp_path_factory.mktemp("residual")
    grown = {**SHORT["cmat"], "goals": [0.0, 1.0], "tolerance": 0.0}
    rows = [
        *({"method": name, **({"settings": SHORT[name]} if name in SHORT else {})} for name in NAMES),
        {"method": "cmat", "label": "cmat grown", "settings": grown},
    ]
    assert run_tiny(folder, rows=rows, backbone=RESIDUAL) == 0
    return folder


@pytest.fixture(scope="module")
def verdicts(folder: Path) -> dict[str, dict[str, Verdict]]:
    """By label and check."""
    return {
        each.evidence.label: {verdict.check: verdict for verdict in each.verdicts}
        for each in judged(load(folder / "runs", None), "tiny")
    }


@pytest.mark.parametrize("name", [*NAMES, "cmat grown"])
def test_classifiers_are_what_a_classifier_must_be(verdicts: dict[str, dict[str, Verdict]], name: str) -> None:
    for check in OF_THE_NETWORK:
        assert verdicts[name][check].status == PASS, verdicts[name][check].reason


@pytest.mark.parametrize("name", [name for name in NAMES if "unforgetting" in METHODS.find(name).cls.claims])
def test_methods_that_claim_it_forget_nothing(verdicts: dict[str, dict[str, Verdict]], name: str) -> None:
    """Batch norm, projections of blocks and growth included. Some, by their settings, take the claim back."""
    assert verdicts[name]["unforgetting"].status != FAIL, verdicts[name]["unforgetting"].reason


@pytest.mark.parametrize("name", ["packnet", "cmat", "cpg", "cmat grown"])
def test_packed_methods_prove_it(verdicts: dict[str, dict[str, Verdict]], name: str) -> None:
    assert verdicts[name]["unforgetting"].status == PASS, verdicts[name]["unforgetting"].reason


def test_blocks_were_widened(folder: Path) -> None:
    (run,) = [run for run in load(folder / "runs", None).runs if run.label == "cmat grown"]
    assert run.facts[run.facts["name"] == "mu"]["value"].tolist() == [1.0, 1.5]
