"""The contract of methods, run over the registry: a method file that stands in `methods/` is tested by standing there.

The requirements are those of `run_benchmark.py check` (`benchmark/contract/method_requirements.py`). Here every method that is
there meets them, and a trial is shown to do the same as a run.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from benchmark.contract.method_requirements import METHOD_REQUIREMENTS
from benchmark.contract.method_trial import MethodTrial
from benchmark.contract.requirement import Requirement, problem_of
from benchmark.evaluating.classifier_contract import check_classifier
from benchmark.plugins import METHODS
from benchmark.running.execution import task_key
from results import load
from results.checkpoints import Checkpoints
from results.records import Run
from scenarios.parts.augmentation import to_float
from tests.tiny import run_tiny

NAMES = sorted(METHODS.all())


@pytest.fixture(scope="module")
def trial_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], MethodTrial]:
    """Each method on trial, once for all tests of this file."""
    return cache(lambda name: MethodTrial(METHODS.find(name), tmp_path_factory.mktemp(name)))


@pytest.fixture(scope="module")
def run_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Run]:
    """The run of each method: all of them, learned and measured by one command."""
    folder = tmp_path_factory.mktemp("runs")
    assert run_tiny(folder, NAMES) == 0
    runs = load(folder / "runs", None).runs
    return lambda name: next(run for run in runs if run.label == name and run.protocols["tiny"]["row_of_preset"])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("check", METHOD_REQUIREMENTS, ids=str)
def test_contract(trial_of: Callable[[str], MethodTrial], name: str, check: Requirement[MethodTrial]) -> None:
    trial = trial_of(name)
    if not check.applies(trial):
        pytest.skip(f"does not concern {name}")
    assert problem_of(check, trial) is None


@pytest.mark.parametrize("name", NAMES)
def test_what_is_on_trial_is_what_a_run_learns(
    trial_of: Callable[[str], MethodTrial], run_of: Callable[[str], Run], name: str
) -> None:
    usual, run = trial_of(name).usual, run_of(name)
    turn = usual.learner.turns[-1]
    stored = Checkpoints(run.directory / "checkpoints").values(task_key(turn))["classifiers"]
    assert {int(task): found for task, found in stored.items()} == usual.fingerprints[-1]


@pytest.mark.parametrize("name", NAMES)
def test_the_harness_accepts_what_keeps_the_contract(trial_of: Callable[[str], MethodTrial], name: str) -> None:
    usual = trial_of(name).usual
    for task in usual.tasks:
        check_classifier(usual.method.classifier(task.id), to_float(task.test.images[:2]), len(task.classes))


@pytest.mark.parametrize("name", NAMES)
def test_a_run_proves_what_its_method_claims(run_of: Callable[[str], Run], name: str) -> None:
    run = run_of(name)
    proof = run.facts[run.facts["phase"] == "unforgetting"]
    assert proof.empty is ("unforgetting" not in run.protocols["tiny"]["claims"])
    assert (proof["value"] == 1).all()
