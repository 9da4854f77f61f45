"""The tiny stream, learned by a method that keeps images: for the tests of such methods."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmark.learning.context import RunContext
from methods.base import Method
from methods.parts.image_memory import KeptImages
from methods.strategies.rehearsal import Rehearsal
from scenarios.base import Task
from tests.tiny import begun, learn

REHEARSING = ("er", "derpp", "agem")


def learned(
    folder: Path,
    name: str,
    *,
    tasks: int = 2,
    protocol: str = "task",
    recipe: dict[str, Any] | None = None,
    **settings: Any,
) -> tuple[Method, RunContext, list[Task]]:
    """A method of this name that has learned so many tasks of the tiny stream."""
    folder.mkdir(exist_ok=True)
    scenario = {"protocol": protocol}
    row = {"method": name, "settings": settings}
    method, context, stream = begun(folder, row, scenario=scenario, recipe=recipe or {})
    for task in stream[:tasks]:
        learn(method, context, task, len(stream))
    return method, context, stream


def rehearsed(folder: Path, name: str, capacity: int = 20, **options: Any) -> tuple[Rehearsal, RunContext, list[Task]]:
    """As `learned`, of a method that replays from a memory of so many images."""
    method, context, stream = learned(folder, name, capacity=capacity, **options)
    assert isinstance(method, Rehearsal)
    return method, context, stream


def kept_by(method: Rehearsal) -> KeptImages:
    """The images that a method keeps."""
    assert method.memory.kept is not None
    return method.memory.kept


def answers(method: Method, task: Task) -> Tensor:
    """The logits of a task's validation images."""
    with torch.no_grad():
        logits: Tensor = method.classifier(task.id)(task.validation.images.float() / 255)
    return logits
