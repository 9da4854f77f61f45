"""The files of presets, by name. Nothing here imports torch."""

from __future__ import annotations

from pathlib import Path

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
