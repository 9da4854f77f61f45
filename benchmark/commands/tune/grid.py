"""The grid of `tune`: the points at which a preset is learned."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from benchmark.errors import ConfigError, quoted
from benchmark.planning.presets import Preset

TUNED = ("recipe", "methods")
"""Fields of a preset that a grid may vary. Another network, eps or stream is another question, and no better answer to it."""

RATES = (0.5, 1.0, 2.0)
"""The default grid: learning rates in units of the preset's."""


@dataclass(frozen=True)
class Point:
    """A point of a grid. values: (key, value) as on the command line; empty for the preset as it stands."""

    values: tuple[tuple[str, str], ...] = ()

    @property
    def overrides(self) -> list[str]:
        """The point as `--set` takes it."""
        return [f"{key}={value}" for key, value in self.values]

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(key for key, _ in self.values)

    def of(self, keys: Sequence[str]) -> Point:
        """The values of these keys alone."""
        return Point(tuple((key, value) for key, value in self.values if key in keys))

    def without(self, key: str) -> Point:
        """The values of all keys but this one."""
        return Point(tuple(value for value in self.values if value[0] != key))

    def __str__(self) -> str:
        return " ".join(self.overrides)


def points_of(grid: Sequence[str] | None, preset: Preset) -> list[Point]:
    """The points of `--grid`, in the order of its values; None for the default grid. Raises ConfigError."""
    if grid is None:
        rate = preset.file.recipe.learning_rate
        grid = ["recipe.learning_rate=" + ",".join(repr(rate * factor) for factor in RATES)]
    axes = [_axis(text) for text in grid]
    keys = [key for key, _ in axes]
    if repeated := {key for key in keys if keys.count(key) > 1}:
        raise ConfigError(f"--grid: {sorted(repeated)[0]} is given twice; give all its values at once")
    return [Point(tuple(zip(keys, values, strict=True))) for values in itertools.product(*(found for _, found in axes))]


def _axis(text: str) -> tuple[str, list[str]]:
    """A key and its values, of `KEY=V,V`. Raises ConfigError."""
    key, equals, rest = text.partition("=")
    values = list(dict.fromkeys(value.strip() for value in rest.split(",")))
    if not equals or not all(key.split(".")) or not all(values):
        raise ConfigError(
            f"--grid {quoted(text)}: expected key.path=value,value, such as recipe.learning_rate=0.01,0.02"
        )
    if key.split(".")[0] not in TUNED:
        raise ConfigError(
            f"--grid {quoted(text)}: a grid varies recipe.KEY or methods.LABEL.KEY; change other keys with --set"
        )
    if any(character in rest for character in "[]{}"):
        raise ConfigError(f"--grid {quoted(text)}: values are numbers or words, with commas between them")
    return key, values
