"""The two identities: what was trained (a run), and what was measured on it (an evaluation)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from torch import Tensor, nn

from attacks.base import Attack
from attacks.pgd import PGD
from attacks.threat_model import parse_fraction
from benchmark import validation
from benchmark.plugins import Plugin
from benchmark.presets import Preset
from methods import backbones, training
from methods.base import Method, MethodSettings
from methods.training.recipe import Recipe
from results import schema
from results.checkpoints import tensor_hash
from results.files import digest
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
    """The canonical fields of a run with their hash (`hash`), the hash without the seed (`row`), and its `label`.

    The label is a name, not part of what was trained, so it is not hashed. prerequisites: identities of the
    runs it needs, of the same seed.
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
        "backbone": preset.file.backbone.model_dump(mode="json"),
        "recipe": _exact(recipe.identity(), preset.eps),
        "prerequisites": sorted(needed["hash"] for needed in prerequisites),
    }
    return {
        **row,
        "seed": seed,
        "label": label or method.name,
        # What it needs belongs to the row too, and that differs from seed to seed: there it counts by its own row.
        "row": digest({**row, "prerequisites": sorted(needed["row"] for needed in prerequisites)}),
        "hash": digest({**row, "seed": seed}),
    }


def _exact(recipe: dict[str, Any], eps: Fraction) -> dict[str, Any]:
    """The recipe with step sizes as exact numbers: `eps/4` and the number it stands for are one recipe."""
    for part in ("attack", "selection"):
        recipe[part] = {**recipe[part], "step_size": str(parse_fraction(recipe[part]["step_size"], eps))}
    return recipe


def classifier_fingerprint(classifier: nn.Module) -> str:
    """SHA-256 over the structure, the modes and everything that decides what a classifier answers.

    That is every parameter and buffer, and what a state dict leaves out: non-persistent buffers, and plain tensors and
    numbers that modules hold as attributes.
    """
    state = hashlib.sha256(repr(classifier).encode())
    for name, module in classifier.named_modules():
        state.update(f"{name} {module.training}\n".encode())
    stored = classifier.state_dict(keep_vars=True)
    for name, tensor in stored.items():
        state.update(f"{name} {tensor.requires_grad} {tensor_hash(tensor)}\n".encode())
    for name, buffer in classifier.named_buffers(remove_duplicate=False):
        if name not in stored:
            state.update(f"{name} not stored {tensor_hash(buffer)}\n".encode())
    for name, module in classifier.named_modules():
        for key, value in sorted(_attributes(module).items()):
            what = tensor_hash(value) if isinstance(value, Tensor) else repr(value)
            state.update(f"{name} {key} {what}\n".encode())
    return state.hexdigest()


def _attributes(module: nn.Module) -> dict[str, Any]:
    """Plain tensors and numbers of a module of somebody's own; torch's layers print theirs, our backbones have none that
    change what they compute."""
    own = not type(module).__module__.startswith(("torch.", "methods.backbones"))
    kinds = (Tensor, int, float, str) if own else (Tensor,)
    return {key: value for key, value in vars(module).items() if isinstance(value, kinds) and key != "training"}


def measurement(attack: Attack, test_fingerprint: str, seed: int, precision: str) -> Mapping[str, Any]:
    """What is measured, apart from the classifier: together with a run and a task's turn it names a cell."""
    return {
        "attack": attack.specification(),
        "task": test_fingerprint,
        "seed": seed,
        "precision": precision,
    }


def evaluation_id(classifier: str, what: Mapping[str, Any]) -> str:
    """SHA-256 over the classifier's fingerprint and the measurement: 64 hex digits."""
    return digest({"classifier": classifier, **what})


def attack_name(attack: Attack, seed: int) -> str:
    """The attack's name in tables: its own, and the evaluation seed where that is not 0."""
    return attack.name if seed == 0 else f"{attack.name} seed={seed}"
