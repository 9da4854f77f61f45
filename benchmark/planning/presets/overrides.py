"""Changes of a preset's keys before it is validated: `--set`, `extends` and the recipe of a row."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmark.errors import ConfigError, nearest, quoted
from benchmark.planning.preset_files import YamlMistake, read_yaml
from benchmark.planning.presets.file import PresetFile

_BEFORE_A_KEY = re.compile(r" (?=(?P<field>[^\s.=]+)(\.[^\s=]+)*=)")
"""A space after which a key of `--set` may stand, with the field of a preset that the key begins with."""


def override(raw: dict[str, Any], text: str) -> None:
    """Set `key.path=value` of `--set` in a preset's keys. Raises ConfigError."""
    key, equals, value = text.partition("=")
    parts = key.split(".")
    if not equals or not all(parts):
        raise ConfigError(f"--set {quoted(text)}: expected key.path=value, such as recipe.epochs=5")
    try:
        parsed = read_yaml(value)
    except YamlMistake as error:
        raise ConfigError(f"--set {quoted(text)}: the value is not valid YAML ({error})") from None
    if parts[0] == "methods":
        _override_rows(raw, parts[1:], parsed, text)
        return
    place = raw
    for part in parts[:-1]:
        if not isinstance(place.get(part), dict):
            # A field at its default is not in the file. An unknown field is found when the preset is validated.
            if place.get(part) is not None:
                what = "is a list; set it whole" if isinstance(place[part], list) else "holds no keys in this preset"
                raise ConfigError(f"--set {quoted(text)}: {part} {what}")
            place[part] = {}
        place = place[part]
    place[parts[-1]] = parsed


def _override_rows(raw: dict[str, Any], parts: list[str], value: Any, text: str) -> None:
    """`methods.LABEL.key=value` changes a setting of that row, `methods.LABEL.recipe.key=value` its recipe."""
    if len(parts) < 2 or parts[1:] == ["recipe"]:
        raise ConfigError(f"--set {quoted(text)}: expected methods.LABEL.setting=value")
    rows = raw.get("methods")
    entries = [entry for entry in rows if isinstance(entry, dict)] if isinstance(rows, list) else []
    # As in --methods: a label names one row; a method's name all rows of it that have other labels too.
    chosen = [entry for entry in entries if label_of(entry) == parts[0]] or [
        entry for entry in entries if entry.get("method") == parts[0]
    ]
    if not chosen:
        names = {name for entry in entries for name in names_of(entry)}
        raise ConfigError(f"--set {quoted(text)}: no row {parts[0]!r} in this preset{nearest(parts[0], names)}")
    for entry in chosen:
        place = entry.setdefault("recipe" if parts[1] == "recipe" else "settings", {})
        path = parts[2:] if parts[1] == "recipe" else parts[1:]
        for part in path[:-1]:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise ConfigError(f"--set {quoted(text)}: {part} holds no keys in this preset")
        place[path[-1]] = value


def names_of(entry: dict[str, Any]) -> set[str]:
    """The names by which `--methods` finds a row: its label and its method."""
    named = {str(entry[key]) for key in ("label", "method") if entry.get(key)}
    return named | {label_of(entry)} if named else named


def label_of(entry: dict[str, Any]) -> str:
    """A row's label, or else the name of its method, which is that of its file."""
    return str(entry.get("label") or Path(str(entry.get("method", ""))).stem)


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with `changes` over it; dictionaries inside are merged, everything else is replaced."""
    result = dict(base)
    for key, value in changes.items():
        nested = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if nested else value
    return result


def joined(stem: str, overrides: Sequence[str]) -> str:
    """The name of a preset's board: the stem of its file, and the overrides in order. `taken_apart` undoes it."""
    return " ".join([stem, *sorted(overrides)])


def taken_apart(name: str, command: str = "") -> tuple[str, list[str]]:
    """The stem and the overrides that a board's name was joined of.

    command: as recorded with the demand. It holds the overrides as they were given. Where it does not make the name, the name is
    cut at each space before a key, outside brackets and quotes: values hold spaces too.
    """
    given = sorted(_set_by(command))
    if given and name.endswith(f" {' '.join(given)}"):
        return name.removesuffix(f" {' '.join(given)}"), given
    spaces = [
        match.start()
        for match in _BEFORE_A_KEY.finditer(name)
        if match["field"] in PresetFile.model_fields and not _is_inside(name[: match.start()])
    ]
    overrides = [name[start + 1 : end] for start, end in itertools.pairwise([*spaces, len(name)])]
    return name[: spaces[0]] if spaces else name, overrides


def _set_by(command: str) -> list[str]:
    """The values of `--set` in a command line."""
    try:
        words = shlex.split(command)
    except ValueError:
        return []
    found, reading = [], False
    for word in words:
        if word.startswith("--"):
            reading = word == "--set"
            found += [word.removeprefix("--set=")] if word.startswith("--set=") else []
        elif reading:
            found.append(word)
    return found


def _is_inside(text: str) -> bool:
    """True if brackets or quotes that opened in `text` are still open at its end."""
    open_brackets, quote, before = 0, "", "="
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"" and before in "=[{(,: ":
            quote = letter
        else:
            open_brackets += (letter in "[{") - (letter in "]}")
        before = letter
    return bool(quote) or open_brackets > 0
