"""The grid of `tune`: its points, and mistakes in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.commands.tune.grid import points_of
from benchmark.errors import ConfigError
from benchmark.planning.presets import Preset, load_preset
from tests.tiny import write_preset


@pytest.fixture
def preset(tmp_path: Path) -> Preset:
    return load_preset(str(write_preset(tmp_path, recipe={"learning_rate": 0.08})))


def test_the_default_grid_is_half_and_twice_the_learning_rate(preset: Preset) -> None:
    assert [str(point) for point in points_of(None, preset)] == [
        "recipe.learning_rate=0.04",
        "recipe.learning_rate=0.08",
        "recipe.learning_rate=0.16",
    ]


def test_several_keys_give_every_combination(preset: Preset) -> None:
    points = points_of(["recipe.epochs=1, 2", "methods.madry_at.per_task_bn=true,false"], preset)
    assert [point.overrides for point in points] == [
        ["recipe.epochs=1", "methods.madry_at.per_task_bn=true"],
        ["recipe.epochs=1", "methods.madry_at.per_task_bn=false"],
        ["recipe.epochs=2", "methods.madry_at.per_task_bn=true"],
        ["recipe.epochs=2", "methods.madry_at.per_task_bn=false"],
    ]


def test_a_value_that_is_given_twice_is_one_point(preset: Preset) -> None:
    assert len(points_of(["recipe.epochs=1,2,1"], preset)) == 2


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (["recipe.epochs"], "expected key.path=value,value"),
        (["recipe.epochs="], "expected key.path=value,value"),
        (["recipe.epochs=1,,2"], "expected key.path=value,value"),
        (["recipe..epochs=1"], "expected key.path=value,value"),
        (["eps=0.1,0.2"], "a grid varies recipe.KEY or methods.LABEL.KEY"),
        (["scenario.tasks=1,2"], "a grid varies recipe.KEY or methods.LABEL.KEY"),
        (["recipe.milestones=[0.5,0.75]"], "values are numbers or words"),
        (["recipe.epochs=1", "recipe.epochs=2"], "recipe.epochs is given twice"),
    ],
)
def test_mistakes_are_told(preset: Preset, grid: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match="--grid") as error:
        points_of(grid, preset)
    assert message in str(error.value)
