"""Settings of all tests: one thread (small networks, and the same bits everywhere); runs of commands, learning and proofs of not
forgetting in this process, because a fresh one takes seconds to start. Tests of such processes start them, and what is spawned
is forked from a process that has imported torch already; the ones of `test_confinement.py`, and of commands, are spawned.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

from benchmark.commands import run
from benchmark.learning.confined import process as confined
from benchmark.running import execution
from tests import warm
from tests.fuzz.exploring import seconds_to_spend

REPOSITORY = Path(__file__).resolve().parents[1]
REAL_CIFAR100 = REPOSITORY.parent / "shared" / "data" / "cifar100"

# A case that takes long on a busy machine is no fault, and a commit fails for what it changed: the cases are the same ones every
# time. New ones are drawn while `make fuzz` lasts, and what it finds is kept.
SAME = not seconds_to_spend()
settings.register_profile("tests", deadline=None, derandomize=SAME, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")

CONFINED_PROCESS = confined.ConfinedProcess


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _commands_run_in_this_process() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "APART", False)
        yield


@pytest.fixture(autouse=True, scope="session")
def _learning_in_this_process() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execution, "LearnsApart", execution.LearnsHere)
        yield


@pytest.fixture(autouse=True, scope="session")
def _judged_and_proved_in_this_process() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(confined, "ConfinedProcess", confined.Here)
        yield


@pytest.fixture(autouse=True, scope="session")
def _what_is_spawned_is_warm() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(multiprocessing, "get_context", warm.get_context)
        yield


@pytest.fixture(scope="module")
def what_is_spawned_is_fresh() -> Iterator[None]:
    """The real thing, which takes three seconds of a core more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(multiprocessing, "get_context", warm.SPAWNING)
        yield
