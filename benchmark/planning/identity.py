"""The identity of a run: everything that decides what is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from attacks.pgd import PGD
from attacks.threat_model import parse_fraction
from benchmark.evaluating import validation
from benchmark.planning.presets import Preset
from benchmark.plugins import Plugin
from methods import backbones, training
from methods.base import Method, MethodSettings
from methods.training.recipe import Recipe
from results import schema
from results.files import digest
from results.records import identity_hash
from scenarios.base import SPLIT_SEED, VALIDATION_FRACTION, Stream
from scenarios.parts import augmentation


def run_identity(
    preset: Preset,
    stream: Stream,
    data_fingerprint: str,
    method: Plugin[Method],
    settings: MethodSettings,
    recipe: Recipe,
    seed: int,
    prerequisites: Sequence[Mapping[str, Any]] = (),
    label: str | None = None,
) -> dict[str, Any]:
    """The canonical fields of a run, followed by `seed`, `label`, `row` and `hash`.

    hash: SHA-256 over the fields and the seed.
    row: SHA-256 over the fields without the seed; the same for all runs of a row.
    label: a name, so it is not hashed.

    data_fingerprint: of the decoded data and its split.
    prerequisites: identities of the runs that this one needs, of the same seed.
    """
    plugin = preset.scenario_plugin
    row = {
        "schema": schema.VERSION,
        "scenario": {
            "name": plugin.name,
            "version": plugin.cls.version,
            "settings": plugin.cls.identity_settings(preset.scenario_settings),
            "file": plugin.sha256,
            "fingerprint": data_fingerprint,
            "tasks": list(stream.names),
            "split": {"fraction": str(VALIDATION_FRACTION), "seed": SPLIT_SEED},
        },
        "method": method.name,
        "method_version": method.cls.version,
        "method_file": method.sha256,
        "parts": {
            "training": training.VERSION,
            "backbone": backbones.VERSION,
            "attack": PGD.version,
            "augmentation": augmentation.VERSION,
            "validation": validation.VERSION,
        },
        "settings": settings.identity(),
        "eps": str(preset.eps),
        "backbone": preset.file.backbone.identity(),
        "recipe": _exact(recipe.identity(), preset.eps),
        "prerequisites": sorted(needed["hash"] for needed in prerequisites),
    }
    return {
        **row,
        "seed": seed,
        "label": label or method.name,
        # A prerequisite's hash differs from seed to seed, so it counts in the row by its own row.
        "row": digest({**row, "prerequisites": sorted(needed["row"] for needed in prerequisites)}),
        "hash": identity_hash({**row, "seed": seed}),
    }


def _exact(recipe: dict[str, Any], eps: Fraction) -> dict[str, Any]:
    """The recipe with exact step sizes: `eps/4` and the number it stands for are one recipe."""
    for part in ("attack", "selection"):
        recipe[part] = {**recipe[part], "step_size": str(parse_fraction(recipe[part]["step_size"], eps))}
    return recipe
