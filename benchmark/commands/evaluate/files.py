"""The file of a classifier, as `evaluate` is given it. Nothing here imports torch."""

from __future__ import annotations

from pathlib import Path

from benchmark.errors import ConfigError


def module_file(target: str) -> Path:
    """The file of `FILE.py[:NAME]`. Raises ConfigError if there is no such Python file."""
    path = Path(target.partition(":")[0])
    if path.suffix != ".py" or not path.is_file():
        raise ConfigError(f"{path}: no such Python file; expected FILE.py or FILE.py:NAME")
    return path
