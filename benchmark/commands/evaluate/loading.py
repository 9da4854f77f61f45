"""The classifier in somebody's Python file."""

from __future__ import annotations

import hashlib
import inspect
import sys
from pathlib import Path
from types import ModuleType

from torch import nn

from benchmark.commands.evaluate.files import module_file
from benchmark.errors import ConfigError, nearest
from benchmark.plugins import import_file


def load_classifier(target: str) -> nn.Module:
    """The module at `FILE.py[:NAME]`: an nn.Module, or what a class or function makes without arguments.

    Without a name the file must hold one nn.Module, or else one class of nn.Module. Raises ConfigError.
    """
    file, _, name = target.partition(":")
    module = _import(module_file(target))
    candidates = _candidates(module)
    if not name:
        if len(candidates) != 1:
            others = ", ".join(_callables(module)) or "nothing that could make one"
            found = f"holds {len(candidates)} ({', '.join(candidates)})" if candidates else f"holds none, but {others}"
            raise ConfigError(f"{file}: expected one nn.Module, the file {found}; name it: {file}:NAME")
        (name,) = candidates
    if not hasattr(module, name):
        raise ConfigError(f"{file}: there is no {name!r}{nearest(name, _callables(module))}")
    found_ = getattr(module, name)
    try:
        made = found_ if isinstance(found_, nn.Module) else found_()
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise ConfigError(f"{target}: cannot be made without arguments ({reason})") from error
    if not isinstance(made, nn.Module):
        raise ConfigError(f"{target}: expected an nn.Module, or what makes one; found {type(made).__name__}")
    return made


def _of_nn(module: ModuleType) -> dict[str, object]:
    """The file's nn.Modules and its own classes of them, by name."""
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, nn.Module)
        or (inspect.isclass(value) and issubclass(value, nn.Module) and value.__module__ == module.__name__)
    }


def _callables(module: ModuleType) -> dict[str, object]:
    """The file's nn.Modules and everything of its own that could make one, by name."""
    own = {name: value for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__}
    return _of_nn(module) | {name: value for name, value in own.items() if callable(value)}


def _candidates(module: ModuleType) -> list[str]:
    """Names of the nn.Modules in a file; of its classes of nn.Module if it holds no instance."""
    found = _of_nn(module)
    instances = [name for name, value in found.items() if isinstance(value, nn.Module)]
    return instances or list(found)


def _import(path: Path) -> ModuleType:
    name = f"_evaluated_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}_{path.stem}"
    # As if the file were run: it can import files beside it.
    sys.path.insert(0, str(path.resolve().parent))
    try:
        return import_file(path, name)
    finally:
        sys.path.pop(0)
