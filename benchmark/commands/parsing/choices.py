"""Names that the shell completes, read from files: importing the plug-ins takes seconds."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmark.planning.options import DEVICES, PUBLISHED, ROOT
from benchmark.planning.preset_files import available
from benchmark.running.progress.curve_target import PACKAGES

KINDS = ("methods", "attacks", "scenarios")
"""The folders of plug-ins."""

_VERSION = re.compile(r"^    version\b.*= \d", re.MULTILINE)
"""Every plug-in has a version of its own, and no helper has one."""

Completer = Callable[..., list[str]]
"""Called by argcomplete as completer(prefix=text so far, parsed_args=options so far, ...); returns words."""


def plugin_names(kind: str) -> list[str]:
    """The names of all plug-ins in a folder, as they are given on the command line."""
    files = sorted((ROOT / kind).glob("*.py"))
    names = [path.stem for path in files if _VERSION.search(path.read_text(encoding="utf-8"))]
    return [name.replace("_", "-") for name in names] if kind == "attacks" else names


def completed(action: argparse.Action, completer: Completer) -> None:
    """Let the shell complete an option's value."""
    action.completer = completer  # type: ignore[attr-defined]


def presets(prefix: str, **_: Any) -> list[str]:
    """Built-in presets and YAML files."""
    return [*available(), *_files(prefix, "yaml", "yml")]


def methods(prefix: str, **_: Any) -> list[str]:
    """Methods and Python files."""
    return [*plugin_names("methods"), *_files(prefix, "py")]


def plugins(prefix: str, **_: Any) -> list[str]:
    """Plug-ins of every kind and Python files."""
    return [*(name for kind in KINDS for name in plugin_names(kind)), *_files(prefix, "py")]


def devices(**_: Any) -> list[str]:
    return list(DEVICES)


def curves(**_: Any) -> list[str]:
    return list(PACKAGES)


def python_files(prefix: str, **_: Any) -> list[str]:
    return _files(prefix, "py")


def runs(parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    """Directories of stored runs, which are named by the beginning of the run's hash."""
    folders = [Path(parsed_args.results), *PUBLISHED.glob("*")]
    return sorted({path.parent.name for folder in folders for path in folder.glob("*/config.json")})


def _files(prefix: str, *endings: str) -> list[str]:
    from argcomplete.completers import FilesCompleter

    return list(FilesCompleter(endings)(prefix))
