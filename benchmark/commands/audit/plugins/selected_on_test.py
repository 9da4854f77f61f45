"""A stream whose test images are handed out as validation images. Audits only: what is decided by them has seen the test."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from benchmark.plugins import SCENARIOS
from scenarios.base import Progress, RawTask, Scenario, ScenarioSettings, SourceOptions, Task


class Settings(ScenarioSettings):
    """of: the scenario that is wrapped, as a preset writes it."""

    of: dict[str, Any]


class SelectedOnTest(Scenario):
    """Another scenario, with each task's test images in the place of its validation images; training images stay."""

    version = 1
    Settings = Settings

    def __init__(self, settings: ScenarioSettings, source: SourceOptions | None = None) -> None:
        super().__init__(settings, source)
        assert isinstance(settings, Settings)
        cls = SCENARIOS.find(str(settings.of["name"])).cls
        inner = {key: value for key, value in settings.of.items() if key != "name"}
        self._inner = cls(cls.Settings.model_validate(inner), source)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self._inner.image_shape

    @property
    def mean(self) -> tuple[float, ...]:
        return self._inner.mean

    @property
    def std(self) -> tuple[float, ...]:
        return self._inner.std

    def task_classes(self) -> list[tuple[str, tuple[str, ...]]]:
        return self._inner.chosen()

    def raw_tasks(self, names: Sequence[str], progress: Progress | None = None) -> list[RawTask]:
        return self._inner.raw_tasks(names, progress)

    def load(self, device: torch.device | str = "cpu", progress: Progress | None = None) -> list[Task]:
        return [
            replace(
                task,
                validation=task.test,
                fingerprint=hashlib.sha256(f"validation is test {task.fingerprint}".encode()).hexdigest(),
            )
            for task in self._inner.load(device, progress)
        ]
