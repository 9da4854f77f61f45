"""The classifier in somebody's Python file."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from benchmark.commands.evaluate.files import module_file
from benchmark.commands.evaluate.loaded_weights import watched_loading
from benchmark.commands.evaluate.strange_modules import hint, one_line
from benchmark.errors import ConfigError, nearest
from benchmark.plugins import import_file


@dataclass(frozen=True)
class Loaded:
    """A module as a file made it. warnings: one line on weights that were not loaded into it, if there are any."""

    module: nn.Module
    warnings: list[str]


def load_classifier(target: str) -> Loaded:
    """The module at `FILE.py[:NAME]`: an nn.Module, or what a class or function makes without arguments.

    Without a name the file must hold one nn.Module, or else one class of nn.Module. Raises ConfigError.
    """
    path = module_file(target)
    with watched_loading() as loading:
        try:
            made = _made(target, _import(path))
        except ConfigError as error:
            line = loading.line_on(error)
            if line is None:
                raise
            raise ConfigError(f"{target}: {line}") from error
    return Loaded(made, loading.warnings(made))


def _made(target: str, module: ModuleType) -> nn.Module:
    file, _, name = target.partition(":")
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
    made = found_ if isinstance(found_, nn.Module) or not callable(found_) else _called(target, found_)
    if not isinstance(made, nn.Module):
        raise ConfigError(
            f"{target}: expected an nn.Module, or what makes one; found {type(made).__name__}{_mend(made)}"
        )
    return made


def _called(target: str, maker: Callable[[], object]) -> object:
    """The value that a class or function makes. Raises ConfigError."""
    try:
        return maker()
    except Exception as error:
        if _needs_arguments(maker):
            raise ConfigError(
                f"{target}: cannot be made without arguments ({one_line(error)}); "
                "expected an nn.Module, or a class or function that makes one without"
            ) from error
        raise ConfigError(f"{target}: fails when it is made ({one_line(error)}){hint(error)}") from error
    except SystemExit as error:
        raise ConfigError(f"{target}: ends the program when it is made (exit code {error.code})") from error


def _needs_arguments(maker: Callable[[], object]) -> bool:
    try:
        inspect.signature(maker).bind()
    except TypeError:
        return True
    except ValueError:  # of builtins, which do not tell
        pass
    return False


def _mend(found: object) -> str:
    """The end of a line on what is no nn.Module: what would be right; empty if nothing tells."""
    if isinstance(found, torch.export.ExportedProgram):
        return "; take its .module()"
    if isinstance(found, tuple | list):
        places = [place for place, part in enumerate(found) if isinstance(part, nn.Module)]
        return f"; take its element {places[0]}" if places else ""
    if isinstance(found, Mapping) and found:
        modules = [key for key, part in found.items() if isinstance(part, nn.Module)]
        if modules:
            return f"; take its {modules[0]!r}"
        if any(isinstance(part, Tensor | Mapping) for part in found.values()):
            return ", weights without a network; build the network, load_state_dict() them, and return it"
    return ""


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
