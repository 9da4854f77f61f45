"""The keys of a preset's YAML file."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from benchmark.evaluating.settings import Evaluation
from methods.backbones import BackboneChoice
from methods.settings import Strict
from methods.training.recipe import Recipe


def _number_or_text(value: Any) -> Any:
    """The value as it is. Raises ValueError unless it is text or a finite number."""
    if isinstance(value, str) or (
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    ):
        return value
    raise ValueError("expected a number such as 8/255 or 0.1")


class MethodEntry(Strict):
    """A row of the preset.

    method: name of a method, or path of a file that holds one.
    label: name of the row; the method's name if it is empty.
    settings: the method's settings that differ from its defaults.
    recipe: the fields in which the row's recipe differs from the preset's.
    source: where settings and recipe come from; empty if they are the method's defaults and the preset's recipe.
    """

    method: str
    label: str = ""
    settings: dict[str, Any] = Field({})
    recipe: dict[str, Any] = Field({})
    source: str = ""


class PresetFile(Strict):
    """The content of a preset's YAML file.

    description: one line that `list presets` shows.
    scenario: `name` and the settings of that scenario.
    backbone: the network and its size.
    eps: radius of the ranking's ball, a number or a fraction such as `8/255`, in pixel space [0, 1].
    recipe: how every method trains, unless its definition says otherwise.
    methods: the rows; one or more.
    optional: rows that are run only if `--methods` names them.
    seeds: seeds of the runs; different whole numbers, 0 or more.
    evaluation: the attacks.
    threads: CPU threads per worker, 1 or more; without it one worker takes all cores.
    keep: checkpoints that stay: `all`, `last`, or `auto` (`last` for methods that claim not to forget, otherwise `all`).
    """

    description: str
    scenario: dict[str, Any]
    backbone: BackboneChoice
    eps: Annotated[str | float | int, BeforeValidator(_number_or_text)]
    recipe: Recipe
    methods: list[MethodEntry] = Field(min_length=1)
    optional: list[MethodEntry] = Field([])
    seeds: list[int] = Field([0], min_length=1)
    evaluation: Evaluation = Field(default_factory=Evaluation)
    threads: int | None = Field(None, ge=1)
    keep: Literal["auto", "all", "last"] = "auto"
