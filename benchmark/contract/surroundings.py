"""Surroundings of a method that must not matter to what it learns: global random numbers, global settings, test images."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from scenarios.base import Progress, RawTask, Scenario


@dataclass(frozen=True, slots=True)
class GlobalSetting:
    """A setting of the whole process.

    name: as people write it.
    read: returns its value.
    write: sets its value.
    """

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], None]


def _attribute(holder: Any, name: str, shown: str) -> GlobalSetting:
    return GlobalSetting(shown, lambda: getattr(holder, name), lambda value: setattr(holder, name, value))


SETTINGS = (
    GlobalSetting("torch.set_default_dtype", torch.get_default_dtype, torch.set_default_dtype),
    GlobalSetting(
        "torch.set_grad_enabled", torch.is_grad_enabled, lambda value: torch.set_grad_enabled(value) and None
    ),
    GlobalSetting("torch.set_num_threads", torch.get_num_threads, torch.set_num_threads),
    GlobalSetting(
        "torch.use_deterministic_algorithms",
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
    ),
    GlobalSetting(
        "torch.set_float32_matmul_precision",
        torch.get_float32_matmul_precision,
        torch.set_float32_matmul_precision,
    ),
    GlobalSetting(
        "torch.autograd.set_detect_anomaly", torch.is_anomaly_enabled, lambda value: torch.set_anomaly_enabled(value)
    ),
    _attribute(torch.backends.cudnn, "benchmark", "torch.backends.cudnn.benchmark"),
    _attribute(torch.backends.cudnn, "deterministic", "torch.backends.cudnn.deterministic"),
)


@contextmanager
def settings_watched() -> Iterator[list[str]]:
    """Watch the global settings. After the block the list holds the names of those it changed, and they are put back."""
    before = [setting.read() for setting in SETTINGS]
    changed: list[str] = []
    try:
        yield changed
    finally:
        for setting, value in zip(SETTINGS, before, strict=True):
            if setting.read() != value:
                changed.append(setting.name)
                setting.write(value)


def seed_everything(seed: int) -> None:
    """Seed the global generators of torch, numpy and Python, from which no method may draw."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def random_states() -> dict[str, object]:
    """The states of the global generators, by the function that seeds them."""
    return {
        "torch.manual_seed": torch.get_rng_state().numpy().tobytes(),
        "numpy.random.seed": repr(np.random.get_state()),
        "random.seed": random.getstate(),
    }


@contextmanager
def other_test_images(scenario: type[Scenario]) -> Iterator[None]:
    """Invert the test images of every stream of this scenario inside the block, whoever opens it.

    This does not reach images that were read before, or that are read from files or packages without the scenario.
    """
    read = scenario.raw_tasks

    def changed(self: Scenario, names: Sequence[str], progress: Progress | None = None) -> list[RawTask]:
        return [replace(task, test_images=255 - task.test_images) for task in read(self, names, progress)]

    scenario.raw_tasks = changed  # type: ignore[method-assign]
    try:
        yield
    finally:
        scenario.raw_tasks = read  # type: ignore[method-assign]
