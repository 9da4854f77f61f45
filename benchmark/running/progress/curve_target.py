"""The value of `run --log`: a tool that draws curves, and where. Nothing large is imported, so that mistakes are told at once."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from benchmark.errors import ConfigError, nearest

PACKAGES = {"tensorboard": ("tensorboard",), "mlflow": ("mlflow", "sqlalchemy", "alembic"), "wandb": ("wandb",)}
"""What each tool needs to be installed."""


@dataclass(frozen=True, slots=True)
class CurveTarget:
    """A tool, and the folder that it writes into (for `mlflow` also the address of a server); empty for the default."""

    tool: str
    place: str = ""


def curve_target(text: str) -> CurveTarget:
    """The value of `--log`, TOOL or TOOL=PLACE. Raises ConfigError for an unknown tool, or one that is not installed."""
    tool, _, place = text.partition("=")
    if tool not in PACKAGES:
        raise ConfigError(f"--log {text!r}: {tool!r} is no tool{nearest(tool, PACKAGES)}")
    for package in PACKAGES[tool]:
        if find_spec(package) is None:
            raise ConfigError(
                f"--log {tool}: the package {package} is not installed; "
                "`.venv/bin/python -m pip install -r requirements-log.txt` installs it"
            )
    return CurveTarget(tool, place)
