"""The file of a classifier, as `evaluate` is given it. Nothing here imports torch."""

from __future__ import annotations

from pathlib import Path

from benchmark.errors import ConfigError

WEIGHTS = (".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".tar", ".pt2", ".onnx")
"""Suffixes of files that hold weights, or a network that is no Python."""


def module_file(target: str) -> Path:
    """The file of `FILE.py[:NAME]`. Raises ConfigError if there is no such Python file."""
    path = Path(target.partition(":")[0])
    if path.is_file() and path.suffix in WEIGHTS:
        raise ConfigError(
            f"{path}: holds weights; give a FILE.py with a function that builds the network and loads them"
        )
    if path.suffix != ".py" or not path.is_file():
        raise ConfigError(f"{path}: no such Python file; expected FILE.py or FILE.py:NAME")
    return path
