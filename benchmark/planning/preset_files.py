"""The files of presets, by name. Nothing here imports torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmark.errors import ConfigError, nearest

FOLDER = Path(__file__).parents[1] / "presets"


def available() -> dict[str, Path]:
    """Files of the built-in presets, by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}


def preset_file(name: str) -> Path:
    """The file of a preset. name: of a built-in preset, or the path of a YAML file. Raises ConfigError."""
    builtin = available()
    path = builtin.get(name) or Path(name)
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        raise ConfigError(f"preset {name!r} is neither a built-in preset nor a YAML file{nearest(name, builtin)}")
    if name not in builtin and path.stem in builtin and path.resolve() != builtin[path.stem].resolve():
        raise ConfigError(f"{path}: a built-in preset is called {path.stem!r}; give the file another name")
    return path


def labels(name: str) -> set[str]:
    """Labels and methods of a preset's rows, optional ones too, as its file has them. Empty if the file is not what it should be.

    Whoever loads the preset is told what is wrong with the file. Raises ConfigError if there is no such preset.
    """
    import yaml

    def read(path: Path) -> dict[str, Any]:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}

    try:
        raw = read(preset_file(name))
        base = available().get(str(raw.get("extends")))
        raw = (read(base) if base else {}) | raw
    except (OSError, ValueError, yaml.YAMLError):
        return set()
    rows = [row for key in ("methods", "optional") for row in raw.get(key) or [] if isinstance(row, dict)]
    found = {str(row[key]) for row in rows for key in ("label", "method") if row.get(key)}
    return found | {Path(word).stem for word in found}
