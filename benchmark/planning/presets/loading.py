"""Reading presets from YAML files, with what the command line changes in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmark.errors import ConfigError, nearest
from benchmark.planning.preset_files import YamlMistake, available, preset_file, read_preset
from benchmark.planning.presets.overrides import joined, label_of, merged, names_of, override
from benchmark.planning.presets.preset import Preset
from benchmark.plugins import METHODS


def load_preset(
    name: str,
    overrides: Sequence[str] = (),
    seeds: Sequence[int] | None = None,
    methods: Sequence[str] | None = None,
    pretrain: str | None = None,
    checks: str | None = None,
) -> Preset:
    """Load a preset and change it as the command line says.

    name: of a built-in preset, or the path of a YAML file.
    overrides: `key.path=value` each, as in `--set`; values are YAML. They become part of the preset's name, so that rows run
        under other settings are never compared unnoticed.
    seeds: instead of the preset's.
    methods: of `--methods`. Those without a row become rows, so that overrides reach them.
    pretrain: the scenario that rows of methods with a setting `pretrain` start from; an override like any other.
    checks: instead of the preset's `evaluation.checks`. No number depends on it, so it is no part of the name.
    Raises ConfigError.
    """
    path = preset_file(name)
    raw = _read(path)
    for method in methods or ():
        _add_row(raw, method)
    if pretrain is not None:
        overrides = [*overrides, *_pretraining(raw, pretrain)]
    keys = [text.partition("=")[0] for text in overrides]
    if repeated := {key for key in keys if keys.count(key) > 1}:
        raise ConfigError(f"--set: {sorted(repeated)[0]} is set twice; give it one value")
    for text in overrides:
        override(raw, text)
    if seeds is not None:
        raw["seeds"] = list(seeds)
    if checks is not None and isinstance(raw.get("evaluation"), dict):
        raw["evaluation"] = {**raw["evaluation"], "checks": checks}
    return Preset(joined(path.stem, overrides), raw, path.stem)


def _read(path: Path) -> dict[str, Any]:
    """The keys of a preset's file, those that it extends included. Raises ConfigError."""
    try:
        raw = read_preset(path)
    except (OSError, YamlMistake) as error:
        raise ConfigError(f"{path}: not readable as YAML ({error})") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: expected keys and values, found {type(raw).__name__}")
    return _extended(raw, path) if "extends" in raw else raw


def _extended(raw: dict[str, Any], path: Path) -> dict[str, Any]:
    """The keys of a preset over those of the built-in one that it `extends`; lists are replaced whole. Raises ConfigError."""
    name = str(raw["extends"])
    base = available().get(name)
    if base is None or base.stem == path.stem:
        raise ConfigError(f"{path.stem}: extends = {name!r}: not a built-in preset{nearest(name, available())}")
    under = read_preset(base)
    if "extends" in under:
        raise ConfigError(f"{path.stem}: extends = {name!r}: that one extends another; extend {under['extends']!r}")
    return merged(under, {key: value for key, value in raw.items() if key != "extends"})


def _add_row(raw: dict[str, Any], method: str) -> None:
    """Give a method of `--methods` without a row one: the preset's optional row, or else one with the method's defaults."""
    entries, optional = raw.get("methods"), raw.get("optional")
    if not isinstance(entries, list):
        return
    if any(isinstance(entry, dict) and method in names_of(entry) for entry in entries):
        return
    found = [entry for entry in optional or [] if isinstance(entry, dict) and method in names_of(entry)]
    if found:
        entries += found
        return
    plugin = METHODS.find(method) if method.endswith(".py") else METHODS.all().get(method)
    if plugin is not None:
        entries.append({"method": method, "label": plugin.name})


def _pretraining(raw: dict[str, Any], scenario: str) -> list[str]:
    """Overrides that set the setting `pretrain` of all rows whose method has it. Raises ConfigError if there is no such row."""
    entries = [entry for entry in raw.get("methods") or [] if isinstance(entry, dict)]
    able = [name for name, plugin in METHODS.all().items() if "pretrain" in plugin.cls.Settings.model_fields]
    labels = [label_of(entry) for entry in entries if entry.get("method") in able]
    if not labels:
        raise ConfigError(
            f"--pretrain {scenario}: no row of this preset can be pre-trained; add --methods {' or '.join(able)}"
        )
    return [f"methods.{label}.pretrain={scenario}" for label in labels]
