"""Finding methods, attacks and scenarios: one file, one class; the file's name is its name. Nothing is registered by hand."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import pkgutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Generic, TypeVar

from attacks.base import Attack
from benchmark.errors import ConfigError, nearest
from methods.base import Method
from scenarios.base import Scenario

T = TypeVar("T")


@dataclass(frozen=True)
class Plugin(Generic[T]):
    """A class found in a file. sha256: of that file if it lies outside the repository, where no version guards it."""

    name: str
    cls: type[T]
    path: Path
    sha256: str | None = None

    @property
    def reference(self) -> str:
        """What another process needs to find it again."""
        return str(self.path) if self.sha256 else self.name

    @property
    def summary(self) -> str:
        """First line of the class's docstring."""
        return (inspect.getdoc(self.cls) or "").partition("\n")[0]


class Kind(Generic[T]):
    """One kind of plug-in: the package whose files hold it and the class that they extend."""

    def __init__(self, package: str, base: type[T], noun: str) -> None:
        self.package, self.base, self.noun = package, base, noun

    def _classes(self, module: ModuleType) -> list[type[T]]:
        return [
            value
            for value in vars(module).values()
            if inspect.isclass(value)
            and issubclass(value, self.base)
            and value.__module__ == module.__name__
            and not inspect.isabstract(value)
        ]

    def _explain_abstract(self, module: ModuleType, path: Path) -> None:
        """Raise ConfigError that names what a class lacks, if there is one that is only not finished."""
        for value in vars(module).values():
            if inspect.isclass(value) and issubclass(value, self.base) and value.__module__ == module.__name__:
                lacks = ", ".join(sorted(getattr(value, "__abstractmethods__", ())))
                raise ConfigError(f"{path}: {value.__name__} lacks {lacks}; {self.base.__name__} says what each does")

    @cache  # noqa: B019 - three instances that live as long as the process
    def all(self) -> dict[str, Plugin[T]]:
        """Every plug-in of the package, by name. Files that hold no such class, and folders, are helpers."""
        package = importlib.import_module(self.package)
        found = {}
        for info in pkgutil.iter_modules(package.__path__):
            if info.ispkg:
                continue
            path = Path(str(package.__file__)).with_name(f"{info.name}.py")
            with _mistakes_named(path):
                module = importlib.import_module(f"{self.package}.{info.name}")
            classes = self._classes(module)
            if len(classes) > 1:
                raise ConfigError(
                    f"{module.__file__}: more than one {self.noun} ({_names(classes)}); one file, one class"
                )
            if classes:
                found[info.name] = Plugin(info.name, classes[0], Path(str(module.__file__)))
        return found

    def find(self, name: str) -> Plugin[T]:
        """The plug-in called `name`, or in the file `name` if that is a path ending in .py. Raises ConfigError."""
        if name.endswith(".py"):
            return self.from_file(Path(name))
        try:
            return self.all()[name.replace("-", "_")]
        except KeyError:
            raise ConfigError(f"{self.noun} {name!r} is not known{nearest(name, self.all())}") from None

    @cache  # noqa: B019
    def from_file(self, path: Path) -> Plugin[T]:
        """The plug-in in a file outside the repository. Raises ConfigError, one line that names file and cause."""
        path = path.resolve()
        if not path.is_file():
            raise ConfigError(f"{path}: no such file")
        name = path.stem
        if name in self.all():
            raise ConfigError(f"{path}: a {self.noun} called {name!r} exists already; give the file another name")
        module = import_file(path, f"_plugin_{self.package}.{name}")
        classes = self._classes(module)
        if not classes:
            self._explain_abstract(module, path)
        if len(classes) != 1:
            found = f"{len(classes)} ({_names(classes)})" if classes else "none"
            raise ConfigError(f"{path}: expected one class that extends {self.base.__name__}, found {found}")
        if not isinstance(getattr(classes[0], "version", None), int):
            raise ConfigError(f"{path}: {classes[0].__name__} lacks version, a whole number")
        file_hash = hashlib.sha256(path.read_bytes()).hexdigest()
        if issubclass(classes[0], Attack):
            # An attack is a value that goes without its plug-in: it says itself what file it is of.
            classes[0].file_hash = file_hash
        return Plugin(name, classes[0], path, file_hash)


def import_file(path: Path, module_name: str) -> ModuleType:
    """The module in a file, importable under a name of its own, so that dataclasses and pydantic find classes in it.

    Raises ConfigError, one line that names file and cause.
    """
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    with _mistakes_named(path):
        spec.loader.exec_module(module)
    return module


@contextmanager
def _mistakes_named(path: Path) -> Iterator[None]:
    """Raise ConfigError, one line that names file and cause, for whatever an import of the file raises."""
    try:
        yield
    except SyntaxError as error:
        raise ConfigError(f"{error.filename or path}, line {error.lineno}: {error.msg}") from error
    except Exception as error:
        raise ConfigError(f"{path}: cannot be imported ({type(error).__name__}: {error})") from error


def _names(classes: list[type[T]]) -> str:
    return ", ".join(cls.__name__ for cls in classes)


METHODS: Kind[Method] = Kind("methods", Method, "method")  # type: ignore[type-abstract]
ATTACKS: Kind[Attack] = Kind("attacks", Attack, "attack")  # type: ignore[type-abstract]
SCENARIOS: Kind[Scenario] = Kind("scenarios", Scenario, "scenario")  # type: ignore[type-abstract]
