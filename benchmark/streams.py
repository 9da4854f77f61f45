"""The images of another scenario than the preset's, which a method is pre-trained on: loaded once per process."""

from __future__ import annotations

from benchmark.presets import Preset
from results.files import canonical_json
from scenarios.base import SourceOptions, Task

_loaded: dict[tuple[str, SourceOptions, str], list[Task]] = {}


def tasks_elsewhere(preset: Preset, source: SourceOptions, device: str) -> list[Task]:
    """The tasks of `Preset.elsewhere`. Raises DataError, ConfigError."""
    key = (canonical_json(preset.file.scenario), source, device)
    if key not in _loaded:
        _loaded[key] = preset.scenario(source).load(device)
    return _loaded[key]
