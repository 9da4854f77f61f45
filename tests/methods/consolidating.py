"""Methods that consolidate what they have learned, on the tiny stream, beside plain adversarial training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark.evaluating.determinism import repeatable
from benchmark.learning.context import RunContext
from methods.strategies.one_network import OneNetwork
from methods.training import loop
from scenarios.base import Task
from tests.methods.training.recording import StandIn
from tests.tiny import begun, learn


def started(folder: Path, name: str, protocol: str = "task", **changes: Any) -> tuple[Any, RunContext, list[Task]]:
    """A method that has learned nothing, its context and the tasks. changes: `recipe`, of the preset; settings."""
    recipe = changes.pop("recipe", {})
    row = {"method": name, "settings": changes}
    found, context, tasks = begun(folder, row, scenario={"protocol": protocol}, recipe=recipe)
    assert isinstance(found, OneNetwork)
    return found, context, tasks


def learned(folder: Path, name: str, protocol: str = "task", turns: int = 2, **changes: Any) -> Any:
    """A method that has learned some tasks."""
    found, context, tasks = started(folder, name, protocol, **changes)
    with repeatable():
        for task in tasks[:turns]:
            learn(found, context, task, len(tasks))
    return found


def weights(method: Any) -> dict[str, torch.Tensor]:
    """The tensors of its network."""
    return dict(method.network.state_dict())


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    """True if both hold the same names and bits."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def learned_recorded(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, **changes: Any) -> Any:
    """The same with steps that are recorded and repeated, as on a GPU."""
    recorders: list[StandIn] = []
    with monkeypatch.context() as patched:
        patched.setattr(loop, "recorder_for", lambda device: recorders.append(StandIn()) or recorders[-1])
        found = learned(folder, name, **changes)
    assert sum(recorder.repeated for recorder in recorders) > 5
    return found
